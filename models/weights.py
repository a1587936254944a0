"""Pretrained weights: torchvision's, or a file."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, nn

from models.backbones import head_name
from models.errors import ModelError

FIRST_EDITION = "IMAGENET1K_V1"
SHOWN = 5  # tensors to name in an error


def load_weights(network: nn.Module, backbone: str, weights: str) -> str:
    """Put weights into a network; a classifier of another size keeps its random ones.

    Args:
        network: changed in place.
        backbone: its torchvision name.
        weights: `imagenet` (torchvision's first edition, downloaded when needed), or a .safetensors or .pth file.

    Returns:
        A sentence about what was loaded, for the log.

    Raises:
        ModelError: no such file, no network for the download, or tensors that don't fit.
    """
    state = imagenet(backbone) if weights == "imagenet" else read_weights(Path(weights))
    head = [f"{head_name(network)}.{part}" for part in ("weight", "bias")]
    own = network.state_dict()
    replaced = [name for name in head if name in state and state[name].shape != own[name].shape]
    classes = state[replaced[0]].shape[0] if replaced else None
    check_fit(own, {name: tensor for name, tensor in state.items() if name not in replaced}, set(replaced), weights)
    network.load_state_dict(state | {name: own[name] for name in replaced})
    if classes is None:
        return f"weights: {weights}"
    return f"weights: {weights}; its classifier for {classes} classes is replaced by one for {len(own[head[0]])}"


def imagenet(backbone: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, from its cache or the network."""
    from torchvision import models

    editions = models.get_model_weights(backbone).__members__
    if FIRST_EDITION not in editions:
        raise ModelError(
            f"torchvision has no ImageNet weights of the first edition for {backbone}, only {', '.join(editions)}; "
            "set model.weights to a file or to none."
        )
    edition = editions[FIRST_EDITION]
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # The ranks of a node want the same file.
        with FileLock(cache / f"{backbone}.lock"), impatient_sockets():
            return edition.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise ModelError(
            f"cannot download the ImageNet weights of {backbone} ({error}). On a cluster, run `python -m lightning_app "
            f"prepare` with the same options on a login node, once. Or fetch {edition.url} where there is a network "
            f"and put it into {cache}; or set model.weights to a .safetensors file, or to none."
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:  # damaged, or not what its name says
        file = cache / Path(edition.url).name
        raise ModelError(f"cannot read {file} ({error}); delete it to download it again.") from error


@contextmanager
def impatient_sockets(seconds: float = 15.0) -> Iterator[None]:
    """Let new sockets time out: a compute node without a network may drop packets without a word, for minutes.

    As datamodules.sources.downloads: neither package imports the other, and six lines are no reason for a third.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state_dict from a .safetensors file, or from a .pth file without running code in it."""
    if not path.is_file():
        raise ModelError(f"no weights at {path}: expected imagenet, none, or the path of a .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both loaders raise many kinds for a broken or hostile file
        raise ModelError(f"cannot read weights from {path} ({error}).") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(
            f"{path} is no state_dict (names to tensors), as a checkpoint is none; of a run, use "
            "runs/<name>/<version>/model/weights.safetensors."
        )
    return state


def check_fit(own: dict[str, Tensor], state: dict[str, Tensor], replaced: set[str], weights: str) -> None:
    """Raise a ModelError that names tensors which are missing, left over, or of another shape."""
    missing = [f"{name} {tuple(own[name].shape)} is missing" for name in own.keys() - state.keys() - replaced]
    extra = [f"{name} {tuple(state[name].shape)} has no place" for name in state.keys() - own.keys()]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    wrong = sorted(shapes) + sorted(missing) + sorted(extra)
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ModelError(
            f"{weights} does not fit this backbone: {'; '.join(wrong[:SHOWN])}{more}. "
            "Set model.backbone to the network that the weights are of."
        )
