"""Depthwise convolutions compute what torch's own do, and every backbone keeps its tensors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from models.backbones import build_backbone
from models.kernels import compiling, depthwise
from models.kernels.depthwise import (
    SOURCE,
    Depthwise,
    images_gradient,
    is_depthwise,
    replace_depthwise,
    spread_gradient,
    weight_gradient,
)

CHANNELS = 8
SHAPES = [(8, 8), (7, 9), (1, 2)]


def both(
    kernel: int, dtype: torch.dtype, height: int, width: int, channels: int, stride: int
) -> list[list[torch.Tensor]]:
    """Output and gradients (input, weight) of torch's convolution in float64 and of ours in `dtype`."""
    generator = torch.Generator().manual_seed(0)
    plain = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(plain.weight.shape, generator=generator).bfloat16())
    network = nn.Sequential(plain)
    replace_depthwise(network)
    assert isinstance(network[0], Depthwise)
    images = torch.randn(3, channels, height, width, generator=generator).bfloat16()
    results = []
    for module, type_ in ((plain, torch.float64), (network[0], dtype)):
        pixels = images.to(type_).contiguous(memory_format=torch.channels_last).requires_grad_()
        output = module.to(type_)(pixels)
        factors = torch.arange(output.numel()).remainder(7).sub(3).to(type_).view_as(output)
        results.append([output, *torch.autograd.grad((output * factors).sum(), [pixels, module.weight])])
    return results


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [CHANNELS, 48])  # the kernel in C takes multiples of 16
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_output_and_gradients_are_those_of_torch(
    kernel: int, height: int, width: int, channels: int, stride: int, dtype: torch.dtype, tolerance: float
) -> None:
    theirs, ours = both(kernel, dtype, height, width, channels, stride)
    for expected, found in zip(theirs, ours, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(
            found.double(), expected, rtol=tolerance, atol=tolerance * float(expected.detach().abs().max())
        )


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_the_spread_gradient_is_that_of_the_input(kernel: int, height: int, width: int) -> None:
    images = torch.randn(3, CHANNELS, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(CHANNELS, 1, kernel, kernel, dtype=torch.float64)
    output = torch.nn.functional.conv2d(images, weight, None, 2, kernel // 2, groups=CHANNELS)
    grad = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, images, grad)
    torch.testing.assert_close(spread_gradient(grad, images, weight), expected, rtol=1e-12, atol=1e-12)


def test_the_gradient_under_autocast_is_in_the_types_of_what_it_is_of() -> None:
    module = Depthwise(CHANNELS, CHANNELS, 3, 2, 1, groups=CHANNELS, bias=False)
    images = torch.randn(2, CHANNELS, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = module(images)
    output.float().sum().backward()
    assert output.dtype == torch.bfloat16
    assert images.grad is not None
    assert module.weight.grad is not None
    assert (images.grad.dtype, module.weight.grad.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize(("backbone", "depthwise"), [("mobilenet_v2", 17), ("efficientnet_b0", 16), ("resnet18", 0)])
def test_a_backbone_keeps_its_tensors(backbone: str, depthwise: int) -> None:
    network = build_backbone(backbone, num_classes=3)
    before = dict(network.state_dict())
    replace_depthwise(network)
    after = network.state_dict()
    assert sum(isinstance(module, Depthwise) for module in network.modules()) == depthwise
    assert list(after) == list(before)
    assert all(after[name].data_ptr() == before[name].data_ptr() for name in before)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(8, 8, 3, 3, 1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, bias=False),
        nn.Conv2d(8, 16, 3, 2, 1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.Conv2d(8, 8, 3, 2, 0, groups=8, bias=False),
        nn.Conv2d(8, 8, 2, 2, 1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 2, dilation=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False, padding_mode="reflect"),
    ],
    ids=["stride 3", "dense", "two per channel", "bias", "no padding", "even kernel", "dilated", "reflecting"],
)
def test_other_convolutions_are_left_alone(convolution: nn.Conv2d) -> None:
    assert not is_depthwise(convolution)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads in torch, where the suite has one."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# 112 pixels are several blocks of rows, and 37 an odd number of them.
@pytest.mark.skipif(compiling.load(SOURCE) is None, reason="needs a C compiler: apt-get install gcc")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(14, 14), (9, 12), (1, 1), (112, 112), (37, 111)])
def test_the_kernels_gradients_are_exact_but_for_one_rounding(
    stride: int, height: int, width: int, threads: int
) -> None:
    images, weight = torch.randn(5, 32, height, width).bfloat16(), torch.randn(32, 1, 3, 3).bfloat16()
    output = torch.nn.functional.conv2d(images, weight, None, stride, 1, groups=32)
    grad = torch.randn_like(output)
    given = [images.double().requires_grad_(), weight.double().requires_grad_()]
    exact = torch.nn.functional.conv2d(*given, None, stride, 1, groups=32)
    of_images, of_weight = torch.autograd.grad(exact, given, grad.double())
    found = weight_gradient(grad, images, weight, stride)
    torch.testing.assert_close(found.double(), of_weight, rtol=0, atol=1e-6 * float(of_weight.abs().max()))
    if stride == 2:
        found = images_gradient(grad, images, weight)
        torch.testing.assert_close(found.double(), of_images, rtol=2**-8, atol=1e-6 * float(of_images.abs().max()))


@pytest.mark.skipif(compiling.load(SOURCE) is None, reason="needs a C compiler: apt-get install gcc")
@pytest.mark.parametrize(
    ("size", "stride", "ours"),
    [(1, 1, True), (2, 1, True), (3, 2, True), (3, 1, False), (14, 1, False), (112, 1, True)],
)
def test_the_gradient_of_the_weights_is_taken_where_it_is_the_quicker_one(
    size: int, stride: int, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    monkeypatch.setattr(depthwise, "weight_gradient", lambda *given: taken.append(1) or weight_gradient(*given))
    convolution = Depthwise(32, 32, 3, stride, 1, groups=32, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        convolution(torch.randn(2, 32, size, size)).float().sum().backward()
    assert bool(taken) == ours
