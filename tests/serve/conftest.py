"""A small artifact, and the demo that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_server import Server, running
from small_artifact import write_artifact


@pytest.fixture(scope="session", autouse=True)
def exports(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    """A place for the exports of all tests, and of the demos that they start: each network is exported once."""
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str((base if worker_id == "master" else base.parent) / "cache"))
        yield


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small artifact."""
    return write_artifact(tmp_path_factory.mktemp("artifact") / "model")


@pytest.fixture(scope="session")
def server(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo, serving it."""
    with running(artifact, tmp_path_factory.mktemp("uploads"), "--max_megapixels", "4") as server:
        yield server
