"""What a run was trained on, and what an attempt on something else cannot repeat exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_app.provenance import cpu_name

# What is inexact if a fact has changed between two attempts.
ROUNDING = "results will differ in their last bits"
INEXACT = {
    "world_size": "the batches and their order stay the same; batch statistics continue from their mean over the "
    "ranks. BatchNorm sees only each rank's part of a batch, and dropout draws different masks, so "
    "results will differ in more than their last bits",
}


def run_facts(trainer: pl.Trainer) -> dict[str, Any]:
    """What a run's bits depend on besides its options and its data: strings and numbers, by name."""
    return {
        "world_size": trainer.world_size,
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
        "device": trainer.strategy.root_device.type,
        "processor": cpu_name(),
        "torch": str(torch.__version__),
    }


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each fact that has changed; facts that were not recorded then do not count as changed."""
    return [
        f"{name} was {in_words(then[name])} and is {in_words(now[name])} now; {INEXACT.get(name, ROUNDING)}"
        for name in sorted(then.keys() & now.keys())
        if then[name] != now[name]
    ]


def in_words(fact: Any) -> str:
    """A fact as text; for named switches, those that are on."""
    if not isinstance(fact, dict):
        return str(fact)
    return ", ".join(sorted(name for name, on in fact.items() if on)) or "none"
