"""Files of visitors go after a while: what was broken off or too large at once, what was finished later.

Gradio's parser leaves the former (route_utils, delete=False). For the latter it has `delete_cache`, whose task ends for
good when an upload comes while it looks for old ones (6.31, delete_files_on_schedule).
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
FINISHED = 600  # seconds: how long an upload, or what was drawn for it, can still be looked at


@asynccontextmanager
async def cleaning(app: FastAPI) -> AsyncIterator[None]:
    """Sweep the upload folder as long as the server runs; what is there before it, the gallery's pictures, stays."""
    folder = Path(get_upload_folder())
    task = asyncio.create_task(clean_regularly(folder, set(folder.rglob("*"))))
    yield
    task.cancel()


async def clean_regularly(folder: Path, keep: Set[Path]) -> None:
    """Sweep, and wait."""
    while True:
        await asyncio.to_thread(clean, folder, keep)
        await asyncio.sleep(ABANDONED)


def clean(folder: Path, keep: Set[Path] = frozenset()) -> None:
    """Delete what is being uploaded no more, and what was finished long ago, one folder deeper.

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
    """Delete a file, or an empty folder, that has not changed for so long."""
    with suppress(OSError):  # somebody was quicker, or the folder is not empty
        # The time of the last change of anything; that of modification is copied along with a file.
        if time.time() - path.stat().st_ctime > seconds:
            path.rmdir() if path.is_dir() else path.unlink()
