"""What has changed between two attempts of a run is reported."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from lightning_app.checkpointing.facts import changes, run_facts
from lightning_app.provenance import cpu_name

THEN: dict[str, Any] = {"world_size": 1, "threads": 2, "kernels": {"batch_norm": True, "depthwise": True}}


def test_nothing_is_said_of_what_is_as_it_was_or_was_not_noted() -> None:
    assert changes(THEN, THEN | {"later": 1}) == []


def test_a_node_without_a_compiler_is_said() -> None:
    [line] = changes(THEN, THEN | {"kernels": {"batch_norm": False, "depthwise": False}})
    assert line == "kernels was batch_norm, depthwise and is none now; results will differ in their last bits"


def test_another_world_size_says_what_continues_and_what_is_not_exact() -> None:
    [line] = changes(THEN, THEN | {"world_size": 3})
    assert line.startswith("world_size was 1 and is 3 now; the batches and their order stay the same; batch statistics")


def test_the_facts_are_those_that_decide_the_last_bits() -> None:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(world_size=3, precision="32-true", strategy=strategy)
    assert run_facts(trainer) == {
        "world_size": 3,
        "threads": torch.get_num_threads(),
        "precision": "32-true",
        "device": "cpu",
        "processor": cpu_name(),
        "torch": torch.__version__,
    }
