"""The error for what cannot be written names its option."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lightning_app.errors import UsageError
from lightning_app.files import DISK_ERRORS, output, try_file, try_folder


def test_a_disk_that_fills_up_is_told_by_the_option() -> None:
    said = r"^--to there cannot be written \(No space left on device\); choose another"
    with pytest.raises(UsageError, match=said), output("--to", Path("there")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EAGAIN, errno.ENOENT])
def test_what_is_no_fault_of_the_disk_is_not_taken_for_one(number: int) -> None:
    """A reader of stdout that is gone, no more processes, no such program."""
    with pytest.raises(OSError, match=os.strerror(number)), output("--to", Path("there"), DISK_ERRORS):
        raise OSError(number, os.strerror(number))


def test_trying_leaves_nothing_but_the_folder_and_what_was_there(tmp_path: Path) -> None:
    try_folder(tmp_path / "a/b")
    try_file(tmp_path / "a/new.json")
    (tmp_path / "a/old.json").write_text("old")
    try_file(tmp_path / "a/old.json")
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "old.json"}
    assert (tmp_path / "a/old.json").read_text() == "old"
