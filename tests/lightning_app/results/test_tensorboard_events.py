"""TensorBoard's events when the disk fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from equality import events

from lightning_app.results.tensorboard_events import RetryingWriter


def test_events_that_could_not_be_written_are_written_later_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = RetryingWriter(str(tmp_path))
    [file] = tmp_path.iterdir()
    writer.add_scalar("loss", 0.0, 0)
    writer.flush()
    aside = file.rename(tmp_path / "aside")
    file.symlink_to("/dev/full")
    for step in (1, 2):
        writer.add_scalar("loss", float(step), step)
        writer.flush()
    assert caplog.text.count("(No space left on device); its events are kept for later") == 1
    aside.replace(file)
    writer.close()
    assert events(tmp_path) == {"loss": [(0, 0.0), (1, 1.0), (2, 2.0)]}


def test_after_a_folder_vanished_events_go_into_a_whole_file_of_the_same_name(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    writer = RetryingWriter(str(folder))
    [file] = folder.iterdir()
    writer.add_scalar("loss", 0.0, 0)
    writer.close()
    shutil.rmtree(folder)
    writer.add_scalar("loss", 1.0, 1)
    writer.close()
    writer.add_scalar("loss", 2.0, 2)
    writer.close()
    assert list(folder.iterdir()) == [file]
    assert b"brain.Event:2" in file.read_bytes()[:100]
    assert events(folder) == {"loss": [(1, 1.0), (2, 2.0)]}


def test_steps_that_come_again_are_hidden_as_torch_hides_them(tmp_path: Path) -> None:
    for number, (purge_step, steps) in enumerate([(None, (0, 1, 2)), (1, (1,))]):
        writer = RetryingWriter(str(tmp_path / str(number)), purge_step=purge_step)
        for step in steps:
            writer.add_scalar("loss", float(step), step)
        writer.close()
        # They are read in the order of their names, in which this process's tenth file comes before its ninth.
        [file] = (tmp_path / str(number)).iterdir()
        file.rename(tmp_path / f"events.out.tfevents.{number}")
    assert events(tmp_path) == {"loss": [(0, 0.0), (1, 1.0)]}
