"""Another program's process runs fits, and does not change."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_app.errors import Stopped, UsageError
from lightning_app.library import fit as library_fit
from lightning_app.library import own_process
from lightning_app.library.fit import as_text, command_line, error_of, read_run
from lightning_app.library.own_process import (
    CALLER,
    RESULT,
    Ended,
    import_path,
    is_own_process,
    report_folder,
    run_program,
)

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


STAND_IN = """\
import json, os, sys
from pathlib import Path
names = ("LIGHTNING_APP_CALLER", "PYTHONUNBUFFERED")
print(*sys.argv[1:], *map(os.environ.get, names), os.getsid(0) == os.getpid(), repr(sys.stdin.read()))
print("h\u00fct", file=sys.stderr)
Path(os.environ["LIGHTNING_APP_RESULT"]).write_text(json.dumps({"folder": "/runs/a"}))
sys.exit(3)
"""


def test_the_program_knows_who_waits_for_it_and_its_folder_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("first/lightning_app", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "first/lightning_app/__init__.py").touch()
    (tmp_path / "first/lightning_app/__main__.py").write_text(STAND_IN, "utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), *sys.path])  # the first of its name is the one that runs
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    assert run_program(["fit", "--name=x"]) == Ended(3, "h\u00fct\n", Path("/runs/a"))
    assert capsys.readouterr() == (f"fit --name=x {os.getpid()} 1 True ''\n", "h\u00fct\n")


@pytest.mark.parametrize("waits", [True, False])
def test_the_folder_is_told_to_a_caller_that_waits(
    waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CALLER, str(os.getppid() if waits else os.getpid()))
    monkeypatch.setenv(RESULT, str(tmp_path / "result"))
    monkeypatch.chdir(tmp_path)
    report_folder(Path("runs/a"))
    written = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert written == [{"folder": str(tmp_path.resolve() / "runs/a")}] * waits


@pytest.mark.parametrize(
    ("module", "command", "own"),
    [
        ("lightning_app.__main__", "/a/__main__.py", True),
        (None, "/usr/bin/laptop-to-cluster", True),
        ("lightning_apps.__main__", "/a/__main__.py", False),
        (None, "/a/script.py", False),
    ],
)
def test_a_process_is_ours_if_python_m_or_the_console_script_started_it(
    module: str | None, command: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModuleSpec(module, None) if module else None
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    monkeypatch.setattr(sys, "argv", [command])
    assert is_own_process() == own


def test_a_finished_run_is_read_from_its_folder(tmp_path: Path) -> None:
    found = {"metrics": {"acc": 0.5, "loss": None}, "model": "artifact", "epoch": 3, "step": 12}
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    run = read_run(tmp_path)
    assert (run.folder, run.artifact, run.epoch, run.step) == (tmp_path, tmp_path / "artifact", 3, 12)
    assert run.metrics == {"acc": 0.5, "loss": pytest.approx(math.nan, nan_ok=True)}


def test_config_and_options_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def noted(args: list[str], show: bool) -> Ended:
        asked.append((args, show))
        return Ended(2, "error: no\n", None)

    monkeypatch.setattr(library_fit, "run_program", noted)
    with pytest.raises(UsageError, match="no"):
        library_fit.fit("a.yaml", {"name": "x"}, show=False)
    assert asked == [(["fit", "--config=a.yaml", "--name=x"], False)]


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
