"""Uploads take no more than their share, and the oldest go first."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve.app.uploads.limits import Limits
from serve.app.uploads.store import SHARE, TOTAL, NoRoom, UploadStore

SIZE = 1000  # bytes: the largest upload


def store(folder: Path) -> UploadStore:
    return UploadStore(folder, Limits(megabytes=SIZE / 1e6))


def add(to: UploadStore, client: str, content: bytes = bytes(SIZE)) -> Path:
    with to.room(client, len(content)) as upload:
        return to.add(upload, content)


def test_a_client_keeps_its_newest_uploads_up_to_its_share(tmp_path: Path) -> None:
    uploads = store(tmp_path)
    other = add(uploads, "other")
    paths = [add(uploads, "greedy") for _ in range(SHARE + 2)]
    assert [path.exists() for path in paths] == [False] * 2 + [True] * SHARE
    assert other.exists()
    assert len(list(tmp_path.iterdir())) == SHARE + 1  # folders go with their files


def test_the_total_is_kept_by_the_oldest_of_all(tmp_path: Path) -> None:
    uploads = store(tmp_path)
    paths = [add(uploads, f"client {number}") for number in range(TOTAL + 1)]
    assert [path.exists() for path in paths] == [False] + [True] * TOTAL


def test_what_is_under_way_counts_and_is_never_deleted(tmp_path: Path) -> None:
    uploads = store(tmp_path)
    held = [uploads.room("greedy", SIZE) for _ in range(SHARE + 1)]
    for each in held[:-1]:
        each.__enter__()
    with pytest.raises(NoRoom, match="Too much is being uploaded at once"):
        held[-1].__enter__()
    held[0].__exit__(None, None, None)  # broken off: its room is free again
    assert add(uploads, "greedy").exists()


@pytest.mark.parametrize(
    ("content", "suffix"), [(b"\x89PNG\r\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"<svg onload=...>", "")]
)
def test_a_file_is_named_by_its_content_alone(content: bytes, suffix: str, tmp_path: Path) -> None:
    assert add(store(tmp_path), "client", content).name == f"picture{suffix}"


def test_small_files_are_bounded_in_number(tmp_path: Path) -> None:
    uploads = store(tmp_path)
    paths = [add(uploads, "greedy", b"x") for _ in range(40 * SHARE + 3)]
    assert [path.exists() for path in paths] == [False] * 3 + [True] * 40 * SHARE
