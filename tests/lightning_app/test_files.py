"""Files that are complete, and on disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lightning_app.checkpointing.checkpoint_io import write_checkpoint
from lightning_app.checkpointing.identity import RunIdentity
from lightning_app.checkpointing.run_directory import RunsFolder
from lightning_app.files import append, make_folder, replace_file


def failing_fsync(monkeypatch: pytest.MonkeyPatch, number: int, of_folders: bool) -> None:
    """Let fsync fail so, of folders or of files."""

    def fsync(descriptor: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_dir() is of_folders:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_is_no_failure(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_fsync(monkeypatch, number, of_folders=True)
    replace_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize(("number", "of_folders"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_another_failure_to_sync_is_one(
    number: int, of_folders: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_fsync(monkeypatch, number, of_folders)
    with pytest.raises(OSError, match=os.strerror(number)):
        replace_file(tmp_path / "file", b"content")


def test_what_cannot_be_appended_leaves_the_file_as_long_as_it_was(tmp_path: Path) -> None:
    append(tmp_path / "file", b"one")
    append(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"onetwo"
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        append(tmp_path / "full", b"three")


def test_the_names_of_new_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    assert sorted(synced) == [tmp_path, tmp_path / "a"]


def test_so_are_those_of_a_run_and_its_first_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[Path] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
    runs = RunsFolder(tmp_path / "runs/name", RunIdentity(()), lambda checkpoint, path: None)
    runs.start("auto")
    runs.let_go()
    folder = tmp_path / "runs/name/version_0"
    write_checkpoint({"global_step": 1}, folder / "checkpoints/step-00000001.ckpt")
    assert {tmp_path, *list(folder.parents)[:2], folder, folder / "checkpoints"} <= synced
