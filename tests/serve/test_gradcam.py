"""Grad-CAM: sums up to what the network says, for every kind of backbone, or says that it cannot."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from models.errors import ModelError
from models.normalized_network import Network
from serve.gradcam import class_map, gradcam, map_size, overlay


def network(backbone: str) -> Network:
    """Random weights."""
    torch.manual_seed(0)
    return Network(backbone, 3).eval()


@pytest.mark.parametrize(("backbone", "side"), [("mobilenet_v2", 3), ("resnet18", 3), ("efficientnet_b0", 3)])
def test_the_map_sums_up_to_the_logit_without_its_bias(backbone: str, side: int) -> None:
    model, pixels = network(backbone), torch.rand(1, 3, 96, 96)
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    found = class_map(model, pixels, 1)
    assert found.shape == (side, side)
    with torch.no_grad():
        torch.testing.assert_close(found.sum(), model(pixels)[0, 1] - head.bias[1], rtol=1e-3, atol=1e-4)


class EvidenceInACorner(torch.nn.Module):
    """A last map that is empty but for its upper right corner, whatever comes in."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        corner = torch.zeros_like(features)
        corner[:, :, 0, -1] = 1
        return corner + 0 * features


def test_the_heat_lies_where_the_only_evidence_is() -> None:
    model = network("resnet18")
    model.backbone.layer4[1] = EvidenceInACorner()
    torch.nn.init.ones_(model.backbone.fc.weight)
    heat = gradcam(model, torch.rand(1, 3, 96, 96), 0)
    assert heat.shape == (96, 96)
    assert (heat.min(), heat.max()) == (0, 1)
    assert heat[:16, 80:].min() == 1
    assert heat[48:].max() == 0


def test_a_vision_transformer_has_no_map_and_says_so() -> None:
    with pytest.raises(ModelError, match="VisionTransformer has no convolutional map before its classifier"):
        gradcam(network("vit_b_16"), torch.rand(1, 3, 224, 224), 0)


def test_a_picture_about_which_nothing_speaks_is_evenly_cold() -> None:
    model = network("resnet18")
    torch.nn.init.zeros_(model.backbone.fc.weight)
    assert gradcam(model, torch.rand(1, 3, 64, 64), 0).abs().max() == 0


def test_the_overlay_lies_on_the_square_in_the_middle_of_the_picture_and_is_bright_where_it_is_hot() -> None:
    heat = torch.zeros(4, 4)
    heat[:, 2:] = 1
    picture = Image.new("RGB", (200, 100), (128, 128, 128))
    grey = overlay(picture, heat).convert("L")
    assert grey.size == (200, 100)
    assert grey.getpixel((140, 50)) > grey.getpixel((60, 50)) + 80
    outside = [grey.getpixel((x, 50)) for x in (10, 45, 155, 190)]
    assert len(set(outside)) == 1  # dimmed alike
    assert outside[0] < 70
    assert grey.getpixel((50, 50)) == grey.getpixel((149, 50)) == 255  # the frame


def test_a_large_picture_is_shown_smaller() -> None:
    assert overlay(Image.new("RGB", (1500, 3000)), torch.zeros(4, 4)).size == (512, 1024)


def test_the_side_of_the_map_is_that_of_the_last_layer_and_none_without_one() -> None:
    assert [map_size(network("mobilenet_v2"), size) for size in (64, 128)] == [2, 4]
    assert map_size(network("vit_b_16"), 224) == 0


def test_the_network_is_left_as_it_was() -> None:
    model = network("mobilenet_v2")
    gradcam(model, torch.rand(1, 3, 64, 64), 0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not [module for module in model.modules() if module._forward_hooks]
