"""A small artifact, and the demo that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_server import Server, running
from small_artifact import write_artifact


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small artifact."""
    return write_artifact(tmp_path_factory.mktemp("artifact") / "model")


@pytest.fixture(scope="session")
def server(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo, serving it."""
    with running(artifact, tmp_path_factory.mktemp("uploads"), "--max_megapixels", "4") as server:
        yield server
