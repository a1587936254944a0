"""One run of a mode, as a separate process tree that does not outlive us."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lightning_app.compare.trials.commands import Launchers, on_cores
from lightning_app.compare.trials.modes import Mode, threads
from lightning_app.compare.trials.other_load import Clock, read_clock
from lightning_app.sessions import end_session

STOPPED_BY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
POLL_SECONDS = 0.05
TAIL_CHARACTERS = 2000


@dataclass(frozen=True)
class Trial:
    """A run to be made.

    Attributes:
        mode: how.
        part: `steps` (counted steps only), `whole`, or `all_reduce` (the link between ranks).
        number: the round, or the seed.
        commands: of its processes; several for independent ones at once.
        folder: where its processes write their results and their output.
    """

    mode: Mode
    part: str
    number: int
    commands: Sequence[list[str]]
    folder: Path

    @property
    def key(self) -> tuple[str, str, int]:
        """What distinguishes the runs of one machine."""
        return self.part, self.mode.name, self.number


def run_trial(trial: Trial, launchers: Launchers, machine: dict[str, Any]) -> dict[str, Any]:
    """Make a run on a machine with these facts; the record of a failed run says why."""
    shutil.rmtree(trial.folder, ignore_errors=True)  # from a failed attempt: its processes were ready then
    trial.folder.mkdir(parents=True)
    clock = read_clock()
    date, began = datetime.now(timezone.utc).isoformat(timespec="seconds"), time.time()
    failed = run_processes(trial, launchers.cores)
    record = {
        "part": trial.part,
        "mode": trial.mode.name,
        "number": trial.number,
        "machine": machine["host"],
        "git": machine["git"],
        "launcher": launchers.name(trial.mode),
        "command": trial.commands[0],
        "date": date,
        "began": began,
        "seconds": time.time() - began,
        "other_cores": None if launchers.srun else other_cores(clock),
        "failed": failed,
    }
    ranks = [] if failed else read_ranks(trial)
    if not failed and len(ranks) < trial.mode.processes:
        record["failed"] = f"{len(ranks)} of {trial.mode.processes} processes wrote their results to {trial.folder}"
    if trial.part == "steps":
        for left in trial.folder.glob("**/run"):
            shutil.rmtree(left)  # a checkpoint of a model that nobody wants
    return record | {"ranks": ranks}


def run_processes(trial: Trial, cores: int) -> str | None:
    """Start its processes and wait until all have ended; why it failed, or None."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for index, command in enumerate(trial.commands):
            with deferred():
                processes.append(start(trial, index, command, cores))
        return wait(processes, trial)
    finally:
        for process in processes:
            end_session(process)


def other_cores(before: Clock | None) -> float | None:
    """Cores that other work kept busy meanwhile. (A SLURM job step is not our child, so its work is unknown there.)"""
    now = read_clock()
    return now.other_cores_since(before) if now and before else None


def start(trial: Trial, index: int, command: list[str], cores: int) -> subprocess.Popen[bytes]:
    """One of its processes, in its own session, and on its own cores if it is serial."""
    each = threads(trial.mode, cores)
    alone = trial.mode.kind in ("cpu", "serial")
    with on_cores(index * each if alone else 0, each if alone else cores), log_file(trial, index).open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def deferred() -> Iterator[None]:
    """Signals that would end us wait until the body is done.

    Otherwise one that arrives while a process is being started would leave it running, because nobody could end it yet.
    """
    asked: list[int] = []
    handlers = {number: handler for number in STOPPED_BY if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, frame: asked.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first in asked[:1]:
            signal.raise_signal(first)


def log_file(trial: Trial, index: int) -> Path:
    """The output of a process."""
    return trial.folder / f"output-{index}.txt"


def wait(processes: Sequence[subprocess.Popen[bytes]], trial: Trial) -> str | None:
    """Wait until all have exited, or one has failed; returns why."""
    running = dict(enumerate(processes))
    while running:
        for index, process in list(running.items()):
            code = process.poll()
            if code:
                return f"exit code {code}: {last_error(log_file(trial, index))}"
            if code == 0:
                del running[index]
        time.sleep(POLL_SECONDS)
    return None


def last_error(log: Path) -> str:
    """The error that a process ended with, or the end of its output."""
    said = log.read_text(errors="replace")[-TAIL_CHARACTERS:].strip()
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith("error: ") or "Error: " in line]
    return (errors or lines or ["no message"])[-1].removeprefix("error: ")


def read_ranks(trial: Trial) -> list[dict[str, Any]]:
    """The results of all processes, the first rank's first; the original loop's are its last line."""
    if trial.mode.kind == "original":
        return [json.loads(log_file(trial, 0).read_text().splitlines()[-1])]
    return [json.loads(path.read_text()) for path in sorted(trial.folder.glob("**/rank-*.json"))]


def fit_command(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """A fit under a launcher."""
    return [*words, sys.executable, "-m", "lightning_app", "fit", *options]
