"""What the page keeps, and for how long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from fastapi import FastAPI

import serve.app.uploads.cleanup
from serve.app.demo import Demo
from serve.app.page import page
from serve.app.uploads.cleanup import FINISHED, cleaning
from serve.app.uploads.limits import Limits
from serve.classifier import Classifier


def test_uploads_go_after_a_while_and_examples_stay(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    blocks = page(Demo(Classifier(artifact), Limits()))
    examples = set(tmp_path.rglob("*.png"))
    assert len(examples) == 4
    assert blocks.delete_cache is None  # Gradio's own way: see serve/app/uploads/cleanup.py
    uploaded = tmp_path / "0123abcd/upload.png"

    async def visit() -> None:
        async with cleaning(FastAPI()):
            await asyncio.sleep(0.2)  # the first sweep
            uploaded.parent.mkdir()
            uploaded.touch()
            later = time.time() + FINISHED + 5
            monkeypatch.setattr(serve.app.uploads.cleanup.time, "time", lambda: later)
            await asyncio.sleep(0.5)

    monkeypatch.setattr(serve.app.uploads.cleanup, "ABANDONED", 0.1)
    asyncio.run(visit())
    assert not uploaded.exists()
    assert set(tmp_path.rglob("*.png")) == examples


def test_the_page_calls_nobody_and_offers_one_endpoint(artifact: Path) -> None:
    blocks = page(Demo(Classifier(artifact), Limits()))
    assert not blocks.analytics_enabled
    assert list(blocks.get_api_info()["named_endpoints"]) == ["/classify"]
