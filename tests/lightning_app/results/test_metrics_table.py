"""metrics.csv over several attempts."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lightning_app.results import metrics_table
from lightning_app.results.metrics_table import MetricsTable, read_rows


class Killed(BaseException):
    """As far as a test can simulate it inside its own process."""


def write(folder: Path, begin: int, end: int) -> None:
    """One attempt: a row for each of its steps."""
    table = MetricsTable(folder / "metrics.csv", begin)
    for step in range(begin, end):
        table.add({"loss": step / 2}, epoch=0, step=step)
    table.write()


def steps(folder: Path) -> list[int]:
    """Of the rows that are there."""
    return [int(row["step"]) for row in read_rows(folder / "metrics.csv")]


def test_what_is_logged_at_one_step_is_one_row_however_often_it_is_written(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv", 0)
    for metrics, epoch, step in (
        ({"lr": 0.5}, 0, 9),
        ({"loss": 2.0}, 0, 9),
        ({"acc": 0.25}, 0, 9),
        ({"lr": 0.125}, 1, 19),
        ({"loss": 1.0}, 1, 19),
    ):
        table.add(metrics, epoch, step)
        table.write()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "epoch,step,acc,loss,lr",
        "0,9,0.25,2.0,0.5",
        "1,19,,1.0,0.125",
    ]


def test_a_row_that_becomes_shorter_leaves_nothing_of_the_longer_one(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv", 0)
    for loss in (0.123456789, 2.0):
        table.add({"loss": loss}, epoch=0, step=0)
        table.write()
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,loss\n0,0,2.0\n"


def test_a_folder_that_vanished_is_made_again_with_the_rows_since(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "run/metrics.csv", 0)
    for step in range(3):
        table.add({"loss": float(step)}, epoch=0, step=step)
        table.write()
        if step == 1:
            (tmp_path / "run").rename(tmp_path / "gone")
    assert steps(tmp_path / "gone") == [0, 1]
    assert steps(tmp_path / "run") == [1, 2]


@pytest.mark.parametrize("first_step", [1, 4])
def test_a_second_attempt_keeps_the_rows_before_its_first_step(first_step: int, tmp_path: Path) -> None:
    write(tmp_path, 0, 6)
    write(tmp_path, first_step, 8)
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
    monkeypatch.setattr(metrics_table, "replace_file", end)
    with pytest.raises(Killed):
        MetricsTable(tmp_path / "metrics.csv", 4)
    assert steps(tmp_path) == list(range(6))


def test_rows_that_a_full_disk_kept_back_are_all_there_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    table = MetricsTable(tmp_path / "metrics.csv", 0)
    table.add({"loss": 1.0}, 0, 0)
    table.write()
    with monkeypatch.context() as patched:
        patched.setattr(metrics_table, "replace_file", full)
        for step in (1, 2):
            table.add({"loss": 2.0, "accuracy": 0.5}, 0, step)
            table.write()
    assert steps(tmp_path) == [0]
    assert caplog.text.count("cannot be written (No space left on device)") == 1
    table.add({"loss": 3.0}, 0, 3)
    table.write()
    assert steps(tmp_path) == [0, 1, 2, 3]
    assert read_rows(tmp_path / "metrics.csv")[1] == {"accuracy": "0.5", "epoch": "0", "loss": "2.0", "step": "1"}


@pytest.mark.parametrize("byte", [b"\xff", b'"', b"\0", b",", b"\n", b"\x0b"])
@pytest.mark.parametrize(("text", "lost"), [(b"2,1.0", {2}), (b"step,loss", {0, 1, 2, 3})])
def test_a_damaged_byte_costs_its_line_and_the_table_is_kept_as_it_was(
    byte: bytes, text: bytes, lost: set[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 0, 6)
    table = tmp_path / "metrics.csv"
    damaged = table.read_bytes().replace(text, byte + text[1:])
    table.write_bytes(damaged)
    write(tmp_path, 4, 6)
    assert steps(tmp_path) == sorted({0, 1, 2, 3, 4, 5} - lost)
    [aside] = tmp_path.glob("metrics.csv.damaged-*")
    assert aside.read_bytes() == damaged
    assert f"the original file is now {aside.name}" in caplog.text


def test_a_line_that_a_kill_cut_short_is_no_damage(tmp_path: Path) -> None:
    write(tmp_path, 0, 6)
    table = tmp_path / "metrics.csv"
    table.write_bytes(table.read_bytes()[:-2])
    write(tmp_path, 4, 6)
    assert steps(tmp_path) == list(range(6))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
