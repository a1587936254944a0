"""Checks whether a network accepts a batch, without computing anything."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from models.errors import ModelError

# What networks raise for images that are too small, or of a size that they were not built for.
REFUSALS = (ValueError, RuntimeError, AssertionError)


def check_takes(network: nn.Module, images: int, size: int) -> None:
    """Raise a ModelError if a network, in its current mode, does not accept this many images of this size.

    Only shapes decide, so it runs on torch's meta device, which has neither memory nor arithmetic.
    """
    shapes = copy.deepcopy(network).to("meta")
    try:
        with torch.no_grad():
            logits = shapes(torch.empty(images, 3, size, size, device="meta"))
    except REFUSALS as error:
        many = f"{images} image{'s' * (images > 1)}"
        raise ModelError(f"the backbone cannot take {many} of {size} pixels at once ({error})") from error
    if not isinstance(logits, Tensor):  # Inception and GoogLeNet, for auxiliary losses
        raise ModelError("the backbone returns several outputs in training")
