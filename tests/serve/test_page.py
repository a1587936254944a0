"""What the page keeps, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradio.route_utils import delete_files_created_by_app

from serve.classifier import Classifier
from serve.page import DELETE_AFTER, DELETE_EVERY, Demo, page
from serve.pictures import Limits


def test_uploads_go_after_a_while_and_examples_stay(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    blocks = page(Demo(Classifier(artifact), Limits()))
    examples = set(tmp_path.rglob("*.png"))
    uploaded = tmp_path / "upload.png"
    uploaded.touch()
    blocks.upload_file_set.add(str(uploaded))  # as Gradio's upload route does
    assert blocks.delete_cache == (DELETE_EVERY, DELETE_AFTER)
    delete_files_created_by_app(blocks, DELETE_AFTER)
    assert uploaded.exists()
    delete_files_created_by_app(blocks, 0)
    assert not uploaded.exists()
    assert set(tmp_path.rglob("*.png")) == examples
    assert len(examples) == 4


def test_the_page_calls_nobody_and_offers_one_endpoint(artifact: Path) -> None:
    blocks = page(Demo(Classifier(artifact), Limits()))
    assert not blocks.analytics_enabled
    assert list(blocks.get_api_info()["named_endpoints"]) == ["/classify"]
