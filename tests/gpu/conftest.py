"""Fixtures for the tests marked `gpu`. A dry run uses a CPU instead of a GPU, to find typing errors without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

DRY_RUN = "LAPTOP_TO_CLUSTER_GPU_DRY_RUN"  # set by `first_run.py --dry_run`


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU; the CPU in a dry run."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if os.environ.get(DRY_RUN):
        return torch.device("cpu")
    pytest.skip("needs a CUDA GPU; see docs/gpu.md")


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """The GPU, for what a CPU cannot even simulate."""
    if device.type != "cuda":
        pytest.skip("needs a CUDA GPU, also in a dry run")
    return device


@pytest.fixture(scope="session")
def strategy(device: torch.device) -> str:
    """The flag that trains on it."""
    return "gpu" if device.type == "cuda" else "cpu"


@pytest.fixture(scope="session")
def options(strategy: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a fit that takes seconds."""
    named = {
        "--config": str(Path(__file__).parents[2] / "configs/quickstart.yaml"),
        "--name": "gpu",
        "--trainer.strategy": strategy,
        "--trainer.precision": "32-true",
        "--trainer.max_epochs": "2",
        "--trainer.limit_train_batches": "6",
        "--trainer.log_every_n_steps": "4",
        "--data.image_size": "32",
        "--data.cache_dir": str(tmp_path_factory.mktemp("packed")),
    }
    if strategy == "cpu":  # a dry run
        named |= {"--model.backbone": "shufflenet_v2_x0_5", "--model.dropout": "null"}
    return [word for option in named.items() for word in option]
