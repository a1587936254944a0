"""Another program's process runs fits, and does not change."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_app.errors import Stopped, UsageError
from lightning_app.library import own_process
from lightning_app.library.fit import as_text, command_line, error_of
from lightning_app.library.own_process import CALLER, Ended, import_path, is_own_process, run_program

REPOSITORY = Path(__file__).parents[2]


def python(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Another program."""
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=variables, text=True, **pipes)


def test_importing_the_function_imports_neither_torch_nor_lightning_nor_numpy(tmp_path: Path) -> None:
    code = "import sys; from lightning_app import Run, fit; print({'torch', 'lightning', 'numpy'} & {*sys.modules})"
    said, _ = python(code, tmp_path).communicate()
    assert said.strip() == "set()"


def test_options_become_the_command_line() -> None:
    options = {
        "trainer.max_epochs": 3,
        "model.dropout": None,
        "ema_decay": 1e-3,
        "trainer.fast_dev_run": True,
        "data.image_size": [24, 32],
        "data.root": Path("my photos"),
        "name": "a b",
        "model.lr_scheduler": {"class_path": "models.schedules.OneCycle"},
    }
    assert command_line(Path("x.yaml"), options) == [
        "--config=x.yaml",
        "--trainer.max_epochs=3",
        "--model.dropout=null",
        "--ema_decay=0.001",
        "--trainer.fast_dev_run=true",
        "--data.image_size=[24, 32]",
        "--data.root=my photos",
        "--name=a b",
        '--model.lr_scheduler={"class_path": "models.schedules.OneCycle"}',
    ]


def test_an_object_is_no_value_of_an_option() -> None:
    with pytest.raises(UsageError, match="by their class path"):
        as_text(object())


@pytest.mark.parametrize(
    ("ended", "kind", "message"),
    [
        (Ended(2, "run: x\nerror: no such data;\nexpected a folder\n", None), UsageError, "no such data;\nexpected"),
        (Ended(2, "the parser of another program said 2\n", None), RuntimeError, "exit code 2"),
        (Ended(75, "stopped at step 3\n", None), Stopped, "stopped at step 3"),
        (Ended(1, "Traceback\nerror: boom\n", None), RuntimeError, "Traceback\nerror: boom"),
        (Ended(-9, "", None), RuntimeError, "exit code -9"),
    ],
)
def test_how_the_program_ended_is_an_exception_of_its_kind(ended: Ended, kind: type, message: str) -> None:
    error = error_of(ended)
    assert type(error) is kind
    assert message in str(error)


def test_what_the_program_prints_appears_here_and_its_code_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["--version"]) == Ended(0, "", None)
    ended = run_program(["validat"])
    assert (ended.code, ended.error) == (2, "unknown verb validat: did you mean validate?")
    said = capsys.readouterr()
    assert (said.out.count("\n"), said.err) == (1, ended.errors)
    run_program(["validat"], show=False)
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_reaches_the_program_which_may_save_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.StringIO):
        """Ctrl-C as the first line is shown."""

        def write(self, text: str) -> int:
            if text == "ready\n":
                raise KeyboardInterrupt
            return super().write(text)

    code = (
        "import signal, sys, time\n"
        "def save(*_): print('saved', flush=True); sys.exit(75)\n"
        "signal.signal(signal.SIGINT, save); print('ready', flush=True); time.sleep(60)"
    )
    process = python(code, tmp_path)
    monkeypatch.setattr(sys, "stdout", shown := Interrupted())
    with pytest.raises(KeyboardInterrupt):
        own_process.wait(process, show=True)
    assert (process.returncode, shown.getvalue()) == (75, "saved\n")


def test_a_path_that_this_process_imports_from_is_the_programs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", "/a", "/b", "/a"])
    assert import_path() == os.pathsep.join(["/a", "/b"])


def test_a_test_is_somebody_elses_program() -> None:
    assert not is_own_process()


def test_a_process_ends_when_the_program_that_waits_for_it_is_killed(tmp_path: Path) -> None:
    waiting = f"import sys, time; sys.path[:0] = [{str(REPOSITORY)!r}]; from lightning_app.library import own_process; "
    child = waiting + "own_process.watch_caller(); print('here', flush=True); time.sleep(60)"
    code = (
        "import os, subprocess, sys; "
        f"environment = os.environ | {{{CALLER!r}: str(os.getpid())}}; command = [sys.executable, '-c', {child!r}]; "
        "child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE); child.stdout.readline(); "
        "print(child.pid, flush=True); child.wait()"
    )
    caller = python(code, tmp_path)
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(own_process.SECONDS_BETWEEN_LOOKS / 5)


def is_running(pid: int) -> bool:
    """Whether a process exists, and is not an unreaped zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
