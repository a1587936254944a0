"""Pretrained weights: torchvision's, a file, or a run of ours."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from lightning_app.downloads import impatient_sockets
from models.backbones import check_name, head_name, load_tensors
from models.card import WEIGHTS, read_card
from models.errors import ModelError

IMAGENET = "imagenet"  # torchvision's first ImageNet weights
FIRST_EDITION = "IMAGENET1K_V1"
EXPECTED = (
    "imagenet, none, or the path of a .safetensors, .pth or .ckpt file or of an artifact; or torchvision weights such "
    "as IMAGENET1K_V2"
)
# torchvision's builders turn ImageNet's normalisation into the one these were trained with, (x - 0.5) / 0.5.
HALVED = ("googlenet", "inception_v3")
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # their auxiliary classifiers, which we do not build
IN_CHECKPOINT = "network.backbone."
SHOWN = 5  # tensors to name in an error
Normalisation = tuple[float, ...]


@dataclass(frozen=True)
class Pretrained:
    """Initial tensors.

    Attributes:
        origin: what the user named.
        state: names to tensors, as in torchvision.
        mean, std: how the pixels they were trained with were normalised; None if unknown.
    """

    origin: str
    state: dict[str, Tensor]
    mean: Normalisation | None = None
    std: Normalisation | None = None


def read_pretrained(backbone: str, weights: str) -> Pretrained:
    """Find weights and read them.

    Args:
        weights: `imagenet`, other torchvision weights, a .safetensors, .pth or .ckpt file, or an artifact's folder.

    Raises:
        ModelError: the backbone or the weights do not exist, or the weights cannot be read or are for another backbone.
    """
    check_name(backbone)
    path = Path(weights)
    if weights == IMAGENET or not (path.suffix or os.sep in weights or path.exists()):
        return imagenet(backbone, FIRST_EDITION if weights == IMAGENET else weights)
    if path.is_dir():
        return of_artifact(weights, path, backbone)
    return of_checkpoint(weights, path) if path.suffix == ".ckpt" else Pretrained(weights, read_weights(path))


def load_weights(network: nn.Module, pretrained: Pretrained) -> str:
    """Load weights into a network, and say what was loaded; a classifier of another size keeps its random weights.

    Raises:
        ModelError: the tensors do not fit.
    """
    state, own = pretrained.state, network.state_dict()
    head = [f"{head_name(network)}.{part}" for part in ("weight", "bias")]
    replaced = [name for name in head if name in state and name in own and state[name].shape != own[name].shape]
    fitting = {name: tensor for name, tensor in state.items() if name not in replaced}
    check_fit(own, fitting, set(replaced), pretrained.origin)
    load_tensors(network, fitting)
    if not replaced:
        return f"weights: {pretrained.origin}"
    classes, kept = len(state[replaced[0]]), len(own[head[0]])
    return f"weights: {pretrained.origin}; its classifier for {classes} classes is replaced with one for {kept}"


def imagenet(backbone: str, name: str) -> Pretrained:
    """One of torchvision's ImageNet weights, from its cache or the network."""
    edition = find_edition(backbone, name)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # The ranks of a node want the same file.
        with FileLock(cache / f"{backbone}.lock"), impatient_sockets():
            state = edition.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise ModelError(
            f"cannot download the ImageNet weights of {backbone} ({error}). On a cluster, run `python -m lightning_app "
            f"prepare` with the same options on a login node, once. Or fetch {edition.url} where there is a network "
            f"and put it into {cache}; or set model.weights to a .safetensors file, or to none."
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:  # damaged, or not what its name says
        file = cache / Path(edition.url).name
        raise ModelError(f"cannot read {file} ({error}); delete it to download it again.") from error
    said = IMAGENET if name == FIRST_EDITION else f"{IMAGENET} {edition.name}"
    if backbone in HALVED:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(AUXILIARY)}
        return Pretrained(said, state, (0.5,) * 3, (0.5,) * 3)
    preprocessing = edition.transforms()
    return Pretrained(said, state, tuple(preprocessing.mean), tuple(preprocessing.std))


def find_edition(backbone: str, name: str) -> Any:
    """torchvision's record of a set of weights; DEFAULT is its best."""
    from torchvision import models

    editions = models.get_model_weights(backbone)
    if name in editions.__members__:
        return editions[name]
    known = ", ".join(editions.__members__) or "none"
    if name == FIRST_EDITION:
        raise ModelError(
            f"torchvision has no IMAGENET1K_V1 weights for {backbone}, only {known}; set model.weights to one of "
            "these, to a file or to none."
        )
    raise ModelError(f"model.weights is {name}; expected {EXPECTED}. torchvision's weights for {backbone}: {known}.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state_dict from a .safetensors file, or from a .pth file without running code in it."""
    state = read_file(path)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(
            f"{path} is not a state_dict (names to tensors); expected one, an artifact (runs/<name>/<version>/model) "
            "or a checkpoint, whose name ends in .ckpt."
        )
    return state


def of_artifact(origin: str, folder: Path, backbone: str) -> Pretrained:
    """The network in an artifact, if it has this backbone."""
    card = read_card(folder)
    if card["backbone"] != backbone:
        raise ModelError(
            f"model.weights {folder} are for {card['backbone']}, but model.backbone is {backbone}; set it to "
            f"{card['backbone']}, or choose other weights."
        )
    return Pretrained(origin, read_weights(folder / WEIGHTS), tuple(card["mean"]), tuple(card["std"]))


def of_checkpoint(origin: str, path: Path) -> Pretrained:
    """The network in a checkpoint that a fit of this program wrote, with averaged weights if there are any."""
    checkpoint = read_file(path)
    tensors = checkpoint.get("state_dict", {}) if isinstance(checkpoint, dict) else {}
    state = {name.removeprefix(IN_CHECKPOINT): t for name, t in tensors.items() if name.startswith(IN_CHECKPOINT)}
    if not state:
        raise ModelError(f"{path} is not a checkpoint of this program: it has no tensors {IN_CHECKPOINT}...")
    options = checkpoint.get("hyper_parameters", {})
    mean, std = options.get("mean"), options.get("std")
    return Pretrained(origin, state, mean and tuple(mean), std and tuple(std))


def read_file(path: Path) -> Any:
    """The content of a weights file."""
    if not path.is_file():
        raise ModelError(f"no weights at {path}: expected {EXPECTED}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both loaders raise many types for a broken or hostile file
        raise ModelError(f"cannot read weights from {path} ({error}).") from error


def check_fit(own: dict[str, Tensor], state: dict[str, Tensor], replaced: set[str], weights: str) -> None:
    """Raise a ModelError that names tensors which are missing, unexpected, or of another shape."""
    missing = [f"{name} {tuple(own[name].shape)} is missing" for name in own.keys() - state.keys() - replaced]
    extra = [f"{name} {tuple(state[name].shape)} is unexpected" for name in state.keys() - own.keys()]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    wrong = sorted(shapes) + sorted(missing) + sorted(extra)
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ModelError(
            f"{weights} does not fit this backbone: {'; '.join(wrong[:SHOWN])}{more}. Set model.backbone to the "
            "network that the weights are for."
        )
