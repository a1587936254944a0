"""What a rank prints last is read before it ends."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
SPEAK = "import sys; from lightning_app.failure.shutdown import be_heard; print('error', file=sys.stderr); be_heard({})"


def speaker(seconds: float, stderr: int) -> subprocess.Popen[bytes]:
    """A process that speaks, and waits to be heard."""
    return subprocess.Popen([sys.executable, "-c", SPEAK.format(seconds)], cwd=REPOSITORY, stderr=stderr)


def test_a_process_ends_when_its_words_have_been_read() -> None:
    with speaker(600, subprocess.PIPE) as process:
        assert process.stderr is not None
        select.select([process.stderr], [], [])  # they are in the pipe
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert process.stderr.read() == b"error\n"
        assert process.wait(60) == 0


def test_mpich_is_told_to_abort_only_when_the_error_has_been_read() -> None:
    code = (
        "import sys; from types import SimpleNamespace; from lightning_app.failure import handler; "
        "handler.HEARD_SECONDS = 600; print('error', file=sys.stderr); "
        "handler.end_others(SimpleNamespace(launcher='hydra'))"
    )
    told, pmi = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        pass_fds=[pmi],
        env=os.environ | {"PMI_FD": str(pmi)},
    )
    os.close(pmi)
    with process, os.fdopen(told) as abort:
        assert process.stderr is not None
        select.select([process.stderr], [], [])
        assert select.select([abort], [], [], 0.5)[0] == []
        assert process.stderr.read() == b"error\n"
        assert abort.read() == "cmd=abort exitcode=2\n"


def test_nobody_is_waited_for_forever() -> None:
    with speaker(0.1, subprocess.PIPE) as process:
        assert process.wait(60) == 0


def test_a_file_is_no_reader(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, speaker(600, log.fileno()) as process:
        assert process.wait(60) == 0
