"""Backbones by torchvision's names, with a classifier for our number of classes."""

from __future__ import annotations

import difflib

from torch import nn

from models.errors import ModelError


def build_backbone(name: str, num_classes: int, dropout: float | None = None) -> nn.Module:
    """A torchvision classification network with random weights.

    Args:
        name: as in `torchvision.models.list_models()`, for example mobilenet_v2.
        num_classes: width of the last layer.
        dropout: rate before the last layer, for networks that take it; None is torchvision's own.

    Raises:
        ModelError: no network has this name, or it takes no dropout.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}."
        raise ModelError(f"unknown backbone {name}: {hint}")
    options = {} if dropout is None else {"dropout": dropout}
    try:
        return models.get_model(name, weights=None, num_classes=num_classes, **options)
    except TypeError as error:
        raise ModelError(f"backbone {name} takes no dropout rate ({error}); leave model.dropout at null.") from error


def head_name(network: nn.Module) -> str:
    """The name of the classifier: the last linear layer.

    Raises:
        ModelError: there is none, as in SqueezeNet, which classifies by a convolution.
    """
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ModelError(f"{type(network).__name__} has no linear layer to replace; choose another model.backbone.")
    return linear[-1]
