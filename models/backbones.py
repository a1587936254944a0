"""Backbones by torchvision's names, with a classifier for our number of classes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from models.errors import ModelError

# Networks with auxiliary classifiers, for losses in training: they are built without.
ONE_ANSWER = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


def build_backbone(name: str, num_classes: int, dropout: float | None = None) -> nn.Module:
    """A network of `torchvision.models.list_models()` with random weights; without a dropout rate, torchvision's.

    Raises:
        ModelError: no network has this name, or it does not take dropout.
    """
    from torchvision import models

    check_name(name)
    options: dict[str, Any] = ONE_ANSWER.get(name, {}) | ({} if dropout is None else {"dropout": dropout})
    try:
        network = models.get_model(name, weights=None, num_classes=num_classes, **options)
    except TypeError as error:
        raise ModelError(f"backbone {name} takes no dropout rate ({error}); leave model.dropout at null.") from error
    if isinstance(network, models.MNASNet):
        from models.mnasnet import AnyVersionMNASNet

        network.__class__ = AnyVersionMNASNet
    return network


def check_name(name: str) -> None:
    """Raise a ModelError if no network has this name."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}."
        raise ModelError(f"unknown backbone {name}: {hint}")


def head_name(network: nn.Module) -> str:
    """The name of the classifier: the last linear layer, or the last convolution if there is none (SqueezeNet)."""
    modules = list(network.named_modules())
    for kind in (nn.Linear, nn.Conv2d):
        if names := [name for name, module in modules if isinstance(module, kind)]:
            return names[-1]
    raise ModelError(f"{type(network).__name__} has no linear layer to replace; choose another model.backbone.")


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load tensors that fit into a network; what they leave out stays as it is."""
    state = network.state_dict()
    state.update(tensors)
    network.load_state_dict(state)
