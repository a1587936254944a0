"""Runs the program in a separate process: `python -m lightning_app ...`, as if typed, with its output shown here.

The caller's process cannot be a rank: a failing job ends its ranks by os._exit, and Lightning starts the other ranks
with the caller's command line, which would run a script again and means nothing in a notebook. A fit also takes over
signals, threads, seeds, environment variables and memory. All of that ends with its process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

# Environment variables of that process: the process that waits for it, and the file in which it reports its results.
CALLER, RESULT = "LIGHTNING_APP_CALLER", "LIGHTNING_APP_RESULT"
CONSOLE_SCRIPT = "laptop-to-cluster"
SECONDS_BETWEEN_LOOKS = 0.5


class NeedsOwnProcess(Exception):
    """This process cannot start local ranks: it runs another program, which they would run again."""


@dataclass(frozen=True)
class Ended:
    """How the program ended.

    Attributes:
        code: its exit code; negative is the signal that killed it.
        errors: what it printed on standard error.
        folder: of its run; None if it left none.
    """

    code: int
    errors: str
    folder: Path | None

    @property
    def error(self) -> str:
        """Its error message; empty if it printed none."""
        _, found, message = f"\n{self.errors}".rpartition("\nerror: ")
        return message.strip() if found else ""


def is_own_process() -> bool:
    """Whether this process was started as our program, so that its command line is ours."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return (spec is not None and spec.name.startswith("lightning_app.")) or Path(sys.argv[0]).name == CONSOLE_SCRIPT


def run_program(args: Sequence[str], show: bool = True) -> Ended:
    """Run `python -m lightning_app` and wait for it.

    It imports what this process would import. An interrupt (Ctrl-C) is passed on, so that the run saves first.
    """
    with tempfile.TemporaryDirectory(prefix="lightning_app-") as scratch:
        result = Path(scratch) / "result.json"
        ours = {CALLER: str(os.getpid()), RESULT: str(result), "PYTHONUNBUFFERED": "1", "PYTHONPATH": import_path()}
        process = subprocess.Popen(
            [sys.executable, "-m", "lightning_app", *args],
            env=os.environ | ours,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a terminal's Ctrl-C would reach it as well as us, and a second one kills
        )
        errors = wait(process, show)
        folder = Path(json.loads(result.read_text())["folder"]) if result.exists() else None
    return Ended(process.returncode, errors, folder)


def import_path() -> str:
    """This process's import path, as PYTHONPATH."""
    return os.pathsep.join(dict.fromkeys(path for path in sys.path if path))


def wait(process: subprocess.Popen[str], show: bool) -> str:
    """Show a process's output until it ends; returns its standard error."""
    errors: list[str] = []

    def note(line: str) -> None:
        errors.append(line)
        if show:
            write(sys.stderr, line)

    def shown(line: str) -> None:
        if show:
            write(sys.stdout, line)

    assert process.stdout is not None
    assert process.stderr is not None
    reader = threading.Thread(target=each_line, args=(process.stderr, note), daemon=True)
    reader.start()
    try:
        each_line(process.stdout, shown)
        process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        each_line(process.stdout, shown)
        process.wait()
        raise
    finally:
        reader.join()
    return "".join(errors)


def write(stream: TextIO, line: str) -> None:
    """Show a line if anyone can read it: the run continues without."""
    with suppress(OSError):
        stream.write(line)


def each_line(source: IO[str], use: Callable[[str], object]) -> None:
    """Pass on each line as it arrives, until the other side closes."""
    for line in source:
        use(line)


# ---- in that process


def watch_caller() -> None:
    """If a caller waits for this process, stop it in good order (save, then exit) once the caller is gone."""
    caller = os.getppid()
    if os.environ.get(CALLER) != str(caller):
        return

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="caller", daemon=True).start()


def report_folder(folder: Path) -> None:
    """Tell the caller, if one waits for this process, where the run is."""
    if os.environ.get(CALLER) == str(os.getppid()):
        Path(os.environ[RESULT]).write_text(json.dumps({"folder": str(folder.resolve())}))
