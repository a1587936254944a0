"""Files of uploads that were broken off or too large: Gradio's parser leaves them (route_utils, delete=False)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from gradio.utils import get_upload_folder

ABANDONED = 60  # seconds since the last byte


@asynccontextmanager
async def sweeping(app: FastAPI) -> AsyncIterator[None]:
    """Sweep the upload folder as long as the server runs."""
    task = asyncio.create_task(sweep_regularly(Path(get_upload_folder())))
    yield
    task.cancel()


async def sweep_regularly(folder: Path) -> None:
    """Sweep, and wait."""
    while True:
        sweep(folder)
        await asyncio.sleep(ABANDONED)


def sweep(folder: Path) -> None:
    """Delete what is being uploaded no more. Finished uploads lie one folder deeper, and Gradio deletes those."""
    for path in folder.glob("tmp*"):
        if path.is_file() and time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink(missing_ok=True)
