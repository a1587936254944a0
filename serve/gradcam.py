"""Grad-CAM: which parts of the picture contributed to a class (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from datamodules.geometry import resample
from models.errors import ModelError
from models.normalized_network import Network
from serve.classifier import Classifier

# Black, violet, red, orange, yellow: the lightness rises, so the map is legible in greyscale too.
RAMP = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32)
OPACITY = 0.5
DIMMED = 0.55  # opacity of the black over what the network did not see
LARGEST = 1024  # pixels a side


def gradcam(network: Network, pixels: Tensor, label: int) -> Tensor:
    """How much each part of the picture contributes to a class, from 0 (the least in this picture) to 1 (the most).

    Args:
        network: in eval mode.
        pixels: float [1, 3, size, size] in [0, 1].
        label: the class.

    Returns:
        float [size, size].

    Raises:
        ModelError: the backbone has no convolutional map before its classifier, like a vision transformer.
    """
    heat = class_map(network, pixels, label).relu()
    heat = F.interpolate(heat[None, None], size=pixels.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    return (heat - heat.min()) / (heat.max() - heat.min()).clamp_min(1e-12)


def class_map(network: Network, pixels: Tensor, label: int) -> Tensor:
    """The last convolutional map, weighted by the mean gradients of a class's logit: float [h, w], of either sign.

    If the backbone averages the map and classifies it by one linear layer, its sum is the logit without the bias.
    """
    with torch.enable_grad(), last_map(network.backbone) as maps:
        logits = network(pixels.detach().requires_grad_())
        if maps[-1].ndim != 4 or maps[-1].shape[-1] < 2:
            raise ModelError(
                f"{type(network.backbone).__name__} has no convolutional map before its classifier at "
                f"{pixels.shape[-1]} pixels, and Grad-CAM needs one."
            )
        [gradient] = torch.autograd.grad(logits[0, label], maps[-1])
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        return (weights * maps[-1]).sum(dim=1)[0].detach()


@contextmanager
def last_map(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the layers' outputs of more than one pixel, in the order of execution."""
    maps: list[Tensor] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 2 and output[0, 0].numel() > 1:
            maps.append(output)

    handles = [module.register_forward_hook(note) for module in backbone.modules() if not list(module.children())]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def map_size(network: Network, size: int) -> int:
    """Side of the map at an input size; 0 if the backbone has none."""
    try:
        return min(class_map(network, torch.zeros(1, 3, size, size), 0).shape)
    except ModelError:
        return 0


def explanation(classifier: Classifier, stored: np.ndarray, picture: Image.Image) -> Image.Image:
    """Grad-CAM of the prediction, drawn over the picture.

    Args:
        classifier: its prediction is explained.
        stored: the stored image, uint8 [3, S, S]: the picture's centre square.
        picture: RGB, upright, of any size.
    """
    pixels = resample(torch.from_numpy(stored.copy())[None].float() / 255, classifier.card["input_size"])
    label = classifier.classes.index(classifier.prediction(stored).label)
    return overlay(picture, gradcam(classifier.trained, pixels, label))


def overlay(picture: Image.Image, heat: Tensor) -> Image.Image:
    """Blend a heat map over the centre square, frame it, and dim the rest, which the network did not see.

    Args:
        picture: RGB.
        heat: float [h, h] in [0, 1].

    Returns:
        RGB; the picture's own size, or reduced to 1024 pixels a side.
    """
    shown = picture.copy()
    shown.thumbnail((LARGEST, LARGEST), Image.Resampling.BICUBIC)
    side = min(shown.size)
    left, top = (shown.width - side) // 2, (shown.height - side) // 2
    square = shown.crop((left, top, left + side, top + side))
    result = Image.blend(shown, Image.new("RGB", shown.size), DIMMED)
    result.paste(Image.blend(square, colored(heat, side), OPACITY), (left, top))
    if shown.width != shown.height:
        frame = (left, top, left + side - 1, top + side - 1)
        ImageDraw.Draw(result).rectangle(frame, outline="white", width=max(side // 150, 1))
    return result


def colored(heat: Tensor, side: int) -> Image.Image:
    """A heat map, float [h, h] in [0, 1], in colours: RGB, side x side pixels."""
    shares = F.interpolate(heat[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0].numpy()
    stops = np.linspace(0, 1, len(RAMP))
    colors = np.stack([np.interp(shares, stops, channel) for channel in RAMP.T], axis=-1)
    return Image.fromarray(colors.round().astype(np.uint8))
