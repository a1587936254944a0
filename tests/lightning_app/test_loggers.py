"""metrics.csv over several attempts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_app import loggers
from lightning_app.loggers import ContinuedWriter, read_rows


class Killed(BaseException):
    """As far as a test can be inside of its own process."""


def write(folder: Path, begin: int, end: int) -> None:
    """One attempt: a row for each of its steps."""
    writer = ContinuedWriter(str(folder), begin)
    for step in range(begin, end):
        writer.log_metrics({"loss": step / 2}, step)
    writer.save()


def steps(folder: Path) -> list[int]:
    """Of the rows that are there."""
    return [int(row["step"]) for row in read_rows(folder / "metrics.csv")]


def test_a_second_attempt_keeps_the_rows_before_its_first_step(tmp_path: Path) -> None:
    write(tmp_path, 0, 6)
    write(tmp_path, 4, 8)
    assert steps(tmp_path) == list(range(8))


def test_an_attempt_from_the_start_keeps_none(tmp_path: Path) -> None:
    write(tmp_path, 0, 6)
    write(tmp_path, 0, 2)
    assert steps(tmp_path) == [0, 1]


def test_an_attempt_that_is_killed_as_it_begins_takes_no_row_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*args: object) -> None:
        raise Killed

    write(tmp_path, 0, 6)
    monkeypatch.setattr(loggers, "replace_file", end)
    with pytest.raises(Killed):
        ContinuedWriter(str(tmp_path), 4)
    assert steps(tmp_path) == list(range(6))
