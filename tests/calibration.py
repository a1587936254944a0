"""Networks whose logits and gradients are of order one, so that a test that compares them can fail."""

from __future__ import annotations

import torch
from torch import nn

from models.backbones import head_name


def calibrate(network: nn.Module, backbone: nn.Module, size: int = 32, images: int = 64) -> None:
    """Give an untrained network batch statistics of its own activations, and a head with weights of order one.

    With a new network's statistics (mean 0, variance 1), MobileNetV2's activations shrink layer by layer and its logits
    are 1e-10, whatever goes in. `size` is the side of the pictures; `network` is left in its mode.
    """
    training, norms = network.training, [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    head = backbone.get_submodule(head_name(backbone))
    assert isinstance(head, nn.Linear)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        network.train()(torch.rand(images, 3, size, size, generator=generator).to(head.weight.dtype))
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * 3 / head.in_features**0.5)
        head.bias.copy_(torch.randn(head.bias.shape, generator=generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(training)
