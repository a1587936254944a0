"""What identifies a comparison's recipe, and the machine that measures."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_app.compare.trials import environment_facts
from lightning_app.compare.trials.environment_facts import facts, machine


def of(monkeypatch: pytest.MonkeyPatch, weights: str = "imagenet", **data: Any) -> dict[str, Any]:
    """The facts about a recipe with these options for its data."""
    config = {"data": {"batch_size": 64, "image_size": 96, "root": "x"} | data, "model": {"weights": weights}}
    monkeypatch.setattr(environment_facts, "fit_options", lambda options: SimpleNamespace(as_dict=lambda: config))
    monkeypatch.setattr(environment_facts, "machine", lambda: {"host": "here"})
    return facts([])


@pytest.mark.parametrize(("size", "first"), [(96, 96), ([64, 80, 96], 64)])
def test_the_size_is_that_of_the_first_epoch(size: Any, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = of(monkeypatch, image_size=size)
    assert (found["image_size"], found["batch_size"], found["machine"]) == (first, 64, {"host": "here"})


def test_a_recipe_is_the_same_wherever_its_data_and_weights_are(monkeypatch: pytest.MonkeyPatch) -> None:
    first = of(monkeypatch, "/a/net.pth", root="here")["recipe"]
    assert of(monkeypatch, "/b/net.pth", root="there")["recipe"] == first
    assert of(monkeypatch, "/b/other.pth", root="there")["recipe"] != first
    assert of(monkeypatch, "/a/net.pth", root="here", batch_size=32)["recipe"] != first


def test_a_machine_has_a_name_cores_and_the_versions_of_what_is_installed() -> None:
    found = machine()
    assert (found["host"], found["host_cores"]) == (socket.gethostname(), os.cpu_count())
    assert "torch" in found["versions"]
    assert {"none", "not installed"}.isdisjoint(found["versions"].values())
