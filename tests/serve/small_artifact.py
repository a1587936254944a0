"""A small artifact with random weights, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.geometry import resample
from lightning_app.results.examples import as_png
from models.artifact import save_artifact
from models.normalized_network import Network

HOSTILE_NAME = "<img src=x onerror=alert(1)> ${value} {{value}}"
CLASSES = ["cat", "dog", HOSTILE_NAME, "frog", "ship"]
STORED, INPUT = 24, 128  # whose map is 4 x 4


def card(**changed: Any) -> dict[str, Any]:
    """What a finished fit would leave."""
    count = len(CLASSES)
    # Not symmetric, and another for each split: what is swapped is seen.
    confusion = [[9 if row == column else 2 * row + column for column in range(count)] for row in range(count)]
    validation = [[7 if row == column else row + 2 * column for column in range(count)] for row in range(count)]
    return {
        "backbone": "mobilenet_v2",
        "classes": CLASSES,
        "input_size": INPUT,
        "stored_size": STORED,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "metrics": {"test/acc": 0.5, "test/loss": 1.25, "val/acc": 0.625, "val/loss": 1.5},
        "confusion": {"test": confusion, "val": validation},
        "uncertain": {"precision": 0.95, "threshold": 0.9, "reached": 0.96, "passing": 50, "images": 100},
        "curves": {"train/loss": [[1, 2.0], [9, 1.0]], "val/acc": [[5, 0.4], [9, 0.5]], "test/acc": [[9, 0.5]]},
        "provenance": {"data": "toys-0123", "date": "2026-11-24"},
        **changed,
    }


def stored_images(count: int) -> np.ndarray:
    """Stored images that differ: uint8 [n, 3, S, S]."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(STORED // 4, axis=2).repeat(STORED // 4, axis=3))


def write_artifact(folder: Path, **changed: Any) -> Path:
    """An artifact with random weights and four examples."""
    content = card(**changed)
    torch.manual_seed(0)
    network = Network(content["backbone"], len(CLASSES), content["mean"], content["std"])
    let_answers_differ(network)
    pictures = {f"examples/{place:02}.png": as_png(image) for place, image in enumerate(stored_images(4))}
    content["examples"] = [
        {"file": file, "name": f"test/{place}", "label": "cat", "predicted": ("cat", "dog")[place % 2]}
        for place, file in enumerate(pictures)
    ]
    save_artifact(folder, network, content, pictures)
    return folder


@torch.no_grad()
def let_answers_differ(network: Network) -> None:
    """Batch statistics of real activations and a strong head: fresh weights answer every picture alike."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not norms:  # a transformer, which has no such statistics and may not take INPUT
        return
    for norm in norms:
        norm.momentum = 1.0
    network.train()(resample(torch.from_numpy(stored_images(16)) / 255, INPUT))
    head = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    head.weight *= 3 / head.weight.std() / head.in_features**0.5
    network.eval()
