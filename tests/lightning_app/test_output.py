"""What cannot be written is told by the option that named it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lightning_app.errors import UsageError
from lightning_app.output import output, try_file, try_folder


def test_a_disk_that_fills_up_is_told_by_the_option() -> None:
    said = r"^--to there cannot be written \(No space left on device\); choose another"
    with pytest.raises(UsageError, match=said), output("--to", Path("there")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_reader_of_stdout_that_is_gone_is_no_error_of_the_output() -> None:
    with pytest.raises(BrokenPipeError), output("--to", Path("there")):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_trying_leaves_nothing_but_the_folder_and_what_was_there(tmp_path: Path) -> None:
    try_folder(tmp_path / "a/b")
    try_file(tmp_path / "a/new.json")
    (tmp_path / "a/old.json").write_text("old")
    try_file(tmp_path / "a/old.json")
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "old.json"}
    assert (tmp_path / "a/old.json").read_text() == "old"
