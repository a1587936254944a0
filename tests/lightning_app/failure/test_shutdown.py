"""What a rank prints last is read before it ends."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PRINT = (
    "import sys; from lightning_app.failure.shutdown import wait_until_read; "
    "print('error', file=sys.stderr); wait_until_read({})"
)


def printer(seconds: float, stderr: int) -> subprocess.Popen[bytes]:
    """A process that prints, and waits until that has been read."""
    return subprocess.Popen([sys.executable, "-c", PRINT.format(seconds)], cwd=REPOSITORY, stderr=stderr)


def test_a_process_ends_when_its_output_has_been_read() -> None:
    with printer(600, subprocess.PIPE) as process:
        assert process.stderr is not None
        select.select([process.stderr], [], [])  # it is in the pipe
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert process.stderr.read() == b"error\n"
        assert process.wait(60) == 0


def test_nobody_is_waited_for_forever() -> None:
    with printer(0.1, subprocess.PIPE) as process:
        assert process.wait(60) == 0


def test_a_file_is_no_reader(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, printer(600, log.fileno()) as process:
        assert process.wait(60) == 0
