"""metrics.csv over several attempts."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lightning_app.results import loggers
from lightning_app.results.loggers import ContinuedWriter, read_rows


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


def test_rows_that_a_full_disk_kept_back_are_all_there_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = ContinuedWriter(str(tmp_path), 0)
    writer.log_metrics({"loss": 1.0}, 0)
    writer.save()
    with monkeypatch.context() as patched:
        patched.setattr(loggers, "replace_file", full)
        writer.log_metrics({"loss": 2.0, "accuracy": 0.5}, 1)
        writer.save()
    writer.log_metrics({"loss": 3.0}, 2)
    writer.save()
    assert steps(tmp_path) == [0, 1, 2]
    assert read_rows(tmp_path / "metrics.csv")[1] == {"accuracy": "0.5", "loss": "2.0", "step": "1"}


@pytest.mark.parametrize("byte", [b"\xff", b'"', b"\0", b",", b"\n", b"\x0b"])
@pytest.mark.parametrize(("text", "lost"), [(b"1.0,2", {2}), (b"loss,step", {0, 1, 2, 3})])
def test_a_damaged_byte_costs_its_line_and_the_table_is_kept_as_it_was(
    byte: bytes, text: bytes, lost: set[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 0, 6)
    table = tmp_path / "metrics.csv"
    damaged = table.read_bytes().replace(text, text[:-1] + byte)
    table.write_bytes(damaged)
    write(tmp_path, 4, 6)
    assert steps(tmp_path) == sorted({0, 1, 2, 3, 4, 5} - lost)
    [aside] = tmp_path.glob("metrics.csv.damaged-*")
    assert aside.read_bytes() == damaged
    assert f"as it was, it is {aside.name}" in caplog.text


def test_a_line_that_a_kill_cut_short_is_no_damage(tmp_path: Path) -> None:
    write(tmp_path, 0, 6)
    table = tmp_path / "metrics.csv"
    table.write_bytes(table.read_bytes()[:-2])
    write(tmp_path, 4, 6)
    assert steps(tmp_path) == list(range(6))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
