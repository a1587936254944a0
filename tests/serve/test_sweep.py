"""Uploads that were broken off are deleted, others are left alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

from serve.sweep import ABANDONED, sweep


def test_what_was_broken_off_goes_and_what_is_under_way_or_finished_stays(tmp_path: Path) -> None:
    old = time.time() - ABANDONED - 5
    (tmp_path / "tmpfolder").mkdir()
    (tmp_path / "0123abcd").mkdir()
    for name, changed in (("tmpbroken", old), ("tmpcoming", time.time()), ("0123abcd/a.png", old), (".ses", old)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (changed, changed))
    sweep(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"tmpfolder", "tmpcoming", "0123abcd", "0123abcd/a.png", ".ses"}
