"""The served path is measured on a model and a data set that serve takes."""

from __future__ import annotations

import pytest

from lightning_app.bench.contestants import serving


@pytest.mark.process
def test_one_picture_and_batches_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SIZE", 32)
    monkeypatch.setattr(serving, "REQUESTS", 3)
    found = serving.measure()
    assert list(found) == ["one picture", "batches"]
    assert min(found.values()) > 0
