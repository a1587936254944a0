"""Backbones build by torchvision's name, train, and normalise their own input."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import profile

from models.backbones import build_backbone, head_name
from models.errors import ModelError
from models.normalized_network import IMAGENET_MEAN, IMAGENET_STD, Network


@pytest.mark.parametrize(
    ("backbone", "size", "head"),
    [
        ("mobilenet_v2", 32, "classifier.1"),
        ("resnet18", 32, "fc"),
        ("efficientnet_b0", 32, "classifier.1"),
        pytest.param("vit_b_16", 224, "heads.head", marks=pytest.mark.slow),
        ("squeezenet1_1", 64, "classifier.1"),
        ("googlenet", 64, "fc"),
        ("inception_v3", 96, "fc"),
    ],
)
def test_a_backbone_gives_logits_and_every_parameter_takes_part_in_a_step(backbone: str, size: int, head: str) -> None:
    torch.manual_seed(0)
    network = Network(backbone, num_classes=4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    bias = network.backbone.get_submodule(head).bias
    before = bias.detach().clone()

    logits = network(torch.rand(2, 3, size, size))
    F.cross_entropy(logits, torch.tensor([0, 3])).backward()
    optimizer.step()

    assert logits.shape == (2, 4)
    assert head_name(network.backbone) == head
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    torch.testing.assert_close(bias.detach(), before - 0.1 * bias.grad)


def test_a_mnasnet_takes_a_state_without_versions_also_as_a_copy() -> None:
    """As averaged weights and files are."""
    network = Network("mnasnet0_5", 3)
    for loaded in (Network("mnasnet0_5", 3), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        state = {name: tensor + 1 for name, tensor in network.state_dict().items()}
        loaded.load_state_dict(state)
        torch.testing.assert_close(dict(loaded.state_dict()), state)


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"unknown backbone mobilenetv2: did you mean mobilenet_v2\?"):
        build_backbone("mobilenetv2", 10)


def test_a_backbone_that_is_like_no_other_lists_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"expected one of .*mobilenet_v2.*resnet18"):
        build_backbone("xxxxxxxxxxxx", 10)


def test_the_dropout_rate_reaches_the_backbone() -> None:
    backbone = build_backbone("mobilenet_v2", 10, dropout=0.35)
    assert [module.p for module in backbone.modules() if isinstance(module, torch.nn.Dropout)] == [0.35]


def test_a_backbone_without_dropout_refuses_a_rate() -> None:
    with pytest.raises(ModelError, match="backbone resnet18 takes no dropout rate"):
        build_backbone("resnet18", 10, dropout=0.2)


def test_a_network_without_a_layer_to_replace_is_named() -> None:
    with pytest.raises(ModelError, match="Identity has no linear layer"):
        head_name(torch.nn.Identity())


def test_the_network_normalises_as_x_minus_mean_over_std() -> None:
    network = Network("resnet18", 2, mean=(0.1, 0.5, 0.9), std=(0.2, 0.25, 0.5))
    network.backbone = torch.nn.Identity()
    images = torch.rand(4, 3, 5, 5)
    mean, std = torch.tensor([0.1, 0.5, 0.9])[:, None, None], torch.tensor([0.2, 0.25, 0.5])[:, None, None]
    torch.testing.assert_close(network(images), (images - mean) / std, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pixels", [torch.bfloat16, torch.float16])
def test_narrow_pixels_are_normalised_in_float32_and_written_in_their_type_by_one_kernel(pixels: torch.dtype) -> None:
    network = Network("squeezenet1_1", 2, mean=(0.1, 0.5, 0.9), std=(0.2, 0.25, 0.5))
    images = torch.rand(2, 3, 32, 32).to(pixels, memory_format=torch.channels_last)
    with profile() as profiled:
        found = network.normalized(images)
    kernels = [event.name for event in profiled.events() if event.cpu_parent is None]
    assert [name for name in kernels if "empty" not in name] == ["aten::addcmul"]
    assert torch.equal(found, torch.addcmul(network.offset, images.float(), network.scale).to(pixels))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_narrow_pixels_can_have_gradients() -> None:
    images = torch.rand(2, 3, 32, 32, dtype=torch.bfloat16, requires_grad=True)
    Network("squeezenet1_1", 2).normalized(images).sum().backward()
    assert images.grad is not None
    assert images.grad.shape == images.shape


def test_normalisation_is_imagenets_unless_told_otherwise() -> None:
    network = Network("resnet18", 2)
    network.backbone = torch.nn.Identity()
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(network((mean + std)[None]), torch.ones(1, 3, 1, 1))


def test_normalisation_is_no_part_of_the_backbones_tensors() -> None:
    network = Network("mobilenet_v2", 10)
    assert all(name.startswith("backbone.") for name in network.state_dict())


def test_convolutions_are_channels_last() -> None:
    weight = build_and_first_weight("mobilenet_v2")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def build_and_first_weight(backbone: str) -> torch.Tensor:
    """The first convolution's weights, more than one pixel wide."""
    return next(parameter for parameter in Network(backbone, 10).parameters() if parameter.ndim == 4)
