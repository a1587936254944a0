"""Deletes visitors' files: unfinished uploads soon, finished ones after ten minutes.

Gradio's parser leaves unfinished ones behind (route_utils, delete=False). For finished ones it has `delete_cache`, but
its task ends for good if an upload arrives while it looks for old files (6.31, delete_files_on_schedule).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from gradio.utils import get_upload_folder

ABANDONED = 60  # seconds since the last byte
FINISHED = 600  # seconds for which an upload, and the map drawn for it, are kept


@asynccontextmanager
async def cleaning(app: FastAPI) -> AsyncIterator[None]:
    """Clean the upload folder while the server runs; files that were there before, the gallery's, stay."""
    folder = Path(get_upload_folder())
    task = asyncio.create_task(clean_regularly(folder, set(folder.rglob("*"))))
    yield
    task.cancel()


async def clean_regularly(folder: Path, keep: Set[Path]) -> None:
    """Clean every ABANDONED seconds."""
    while True:
        await asyncio.to_thread(clean, folder, keep)
        await asyncio.sleep(ABANDONED)


def clean(folder: Path, keep: Set[Path] = frozenset()) -> None:
    """Delete uploads that were abandoned, and old ones that were finished (one folder deeper).

    Args:
        folder: of uploads.
        keep: paths that stay.
    """
    for path in folder.glob("tmp*"):
        delete_older(path, ABANDONED)
    for path in set(folder.glob("*/*")) - keep:
        delete_older(path, FINISHED)
    for path in {path for path in folder.iterdir() if path.is_dir()} - keep:
        delete_older(path, ABANDONED)


def delete_older(path: Path, seconds: float) -> None:
    """Delete a file, or an empty folder, that has not changed for so many seconds."""
    with suppress(OSError):  # already deleted, or the folder is not empty
        # ctime, because a copied file may keep an old mtime.
        if time.time() - path.stat().st_ctime > seconds:
            path.rmdir() if path.is_dir() else path.unlink()
