"""An export is made once for each network, and never in place of another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

import serve.onnx_cache
from lightning_app.files import cache_folder
from models.normalized_network import Network
from serve.onnx_cache import cached_onnx_bytes, prune
from serve.pipeline import Pipeline


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the exports so far, which stand for their content; the cache is empty."""
    numbers: list[int] = []

    def export(pipeline: nn.Module, stored_size: int) -> bytes:
        numbers.append(len(numbers))
        return bytes([numbers[-1]])

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(serve.onnx_cache, "onnx_bytes", export)
    return numbers


def pipeline(classes: int = 3, mean: float = 0.5, input_size: int = 64) -> Pipeline:
    """The same weights each time."""
    torch.manual_seed(0)
    return Pipeline(Network("mobilenet_v2", classes, [mean] * 3, [0.25] * 3, kernels=False).eval(), input_size)


def test_the_same_network_is_exported_once(exported: list[int]) -> None:
    assert [cached_onnx_bytes(pipeline(), 24) for _ in range(2)] == [b"\0", b"\0"]
    assert exported == [0]
    assert [path.read_bytes() for path in cache_folder("onnx").iterdir()] == [b"\0"]


def test_whatever_changes_the_answers_is_another_export(exported: list[int]) -> None:
    other_weights = pipeline()
    with torch.no_grad():
        next(other_weights.network.parameters())[0, 0, 0, 0] += 1
    asked = [(pipeline(), 24), (other_weights, 24), (pipeline(mean=0.4), 24), (pipeline(input_size=96), 24)]
    asked += [(pipeline(classes=4), 24), (pipeline(), 32)]
    assert [cached_onnx_bytes(*each) for each in asked] == [bytes([number]) for number in range(6)]


def test_where_nothing_can_be_kept_every_start_exports(
    exported: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [cached_onnx_bytes(pipeline(), 24) for _ in range(2)] == [b"\0", b"\1"]


def test_the_least_recently_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.onnx_cache, "KEPT", 25)
    for place, name in enumerate("cab"):
        (tmp_path / f"{name}.onnx").write_bytes(bytes(10))
        os.utime(tmp_path / f"{name}.onnx", (1000 + place, 1000 + place))
    prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
