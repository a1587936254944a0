"""What visitors leave is deleted after a while, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import serve.app.uploads.cleanup
from serve.app.uploads.cleanup import ABANDONED, FINISHED, clean


def left_after(seconds: float, folder: Path, monkeypatch: pytest.MonkeyPatch, *keep: Path) -> set[str]:
    """What is there when it was swept then."""
    now = time.time() + seconds
    with monkeypatch.context() as patch:
        patch.setattr(serve.app.uploads.cleanup.time, "time", lambda: now)
        clean(folder, set(keep))
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_what_was_broken_off_goes_before_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0123abcd").mkdir()
    (tmp_path / "4567cdef").mkdir()
    for name in ("tmpbroken", "0123abcd/a.png", "4567cdef/example.png", ".session"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))  # Gradio copies an old picture's time along
    example = tmp_path / "4567cdef", tmp_path / "4567cdef/example.png"
    stays = {"4567cdef", "4567cdef/example.png", ".session"}
    finished = {"0123abcd", "0123abcd/a.png"}
    assert left_after(ABANDONED - 5, tmp_path, monkeypatch, *example) == stays | finished | {"tmpbroken"}
    assert left_after(FINISHED - 5, tmp_path, monkeypatch, *example) == stays | finished
    assert left_after(FINISHED + 5, tmp_path, monkeypatch, *example) - {"0123abcd"} == stays
    assert left_after(FINISHED + 2 * ABANDONED, tmp_path, monkeypatch, *example) == stays


def test_a_folder_that_is_new_waits_for_its_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0123abcd").mkdir()
    assert left_after(ABANDONED - 5, tmp_path, monkeypatch) == {"0123abcd"}
    assert left_after(ABANDONED + 5, tmp_path, monkeypatch) == set()
