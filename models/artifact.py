"""The artifact: what training leaves for all later steps.

A folder with `weights.safetensors` (the backbone's tensors under torchvision's names), `model.json` (backbone, classes,
sizes, normalisation, metrics, provenance) and, if there were test images, some of them in `examples/`. Loading it needs
neither Lightning nor the config.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from lightning_app.files import sync
from models.backbones import load_tensors
from models.card import CARD, SCHEMA, WEIGHTS, read_card
from models.errors import ModelError
from models.normalized_network import Network
from models.weights import check_fit, read_weights

EXAMPLES = "examples"


def load_artifact(folder: str | Path) -> tuple[Network, dict[str, Any]]:
    """Load a trained network, ready for inference, and its card.

    The network takes pixels, float [n, 3, size, size] in [0, 1] with size = card["input_size"], and returns logits [n,
    number of classes]. Its backbone is torchvision's, so it can be traced, exported and quantised.

    Raises:
        ModelError: the artifact is missing, damaged, has links or a newer schema, or its weights are not all finite.
    """
    card = read_card(Path(folder))
    network = Network(card["backbone"], len(card["classes"]), card["mean"], card["std"], kernels=False)
    weights = Path(folder) / WEIGHTS
    state = read_weights(weights)
    check_fit(network.backbone.state_dict(), state, set(), str(weights))
    if broken := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise ModelError(f"{weights} is NaN or infinite in {', '.join(broken[:3])}: its training diverged.")
    load_tensors(network.backbone, state)
    return network.eval(), card


def save_artifact(
    folder: Path, network: Network, card: dict[str, Any], pictures: Mapping[str, bytes] | None = None
) -> None:
    """Write an artifact; the folder appears once it is complete and on disk.

    Args:
        folder: replaced if it exists.
        network: its averaged weights, if there are any.
        card: backbone, classes, input_size, stored_size, mean, std, metrics, provenance.
        pictures: the content of files that the card names, by their path inside the folder.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    state = {name: tensor.contiguous().cpu() for name, tensor in network.backbone.state_dict().items()}
    try:
        for name, content in (pictures or {}).items():
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(content)
        (temporary / CARD).write_text(json.dumps({"schema": SCHEMA, **card}, indent=1))
        save_file(state, temporary / WEIGHTS)
        shutil.copymode(temporary / CARD, temporary / WEIGHTS)  # safetensors makes it readable only by the owner
        for path in (temporary, *temporary.rglob("*")):
            sync(path)
        put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(temporary: Path, folder: Path) -> None:
    """Rename a folder to its destination; the previous one is removed only afterwards."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(temporary, folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
