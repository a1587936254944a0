"""The middle of an inverted residual in one operation gives what its parts give."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from models.backbones import build_backbone
from models.kernels import compiling, norm_depthwise
from models.kernels.batch_norm import fuse_batch_norms
from models.kernels.depthwise import replace_depthwise
from models.kernels.norm_depthwise import SOURCE, NormDepthwise, join_norm_depthwise
from models.normalized_network import Network

CHANNELS = 48
needs_compiler = pytest.mark.skipif(
    compiling.load(SOURCE, "-DELEMENT_BITS=32") is None, reason="needs a C compiler: apt-get install gcc"
)


def block(stride: int, first: nn.Module, second: nn.Module, seed: int = 1) -> nn.Sequential:
    """A network of one inverted residual, with norms whose outputs meet both bounds of ReLU6."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(seed)
    normed = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False), nn.BatchNorm2d(CHANNELS), first)
    depthwise = nn.Conv2d(CHANNELS, CHANNELS, 3, stride, 1, groups=CHANNELS, bias=False)
    network = nn.Sequential(
        nn.Sequential(
            normed, nn.Sequential(depthwise, nn.BatchNorm2d(CHANNELS), second), nn.Conv2d(CHANNELS, CHANNELS, 1)
        )
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = torch.rand(CHANNELS, generator=generator) * 3 + 0.5
            module.bias.data = torch.randn(CHANNELS, generator=generator) * 2 + 1
    return network.train()


def distance_from_bounds(network: nn.Module, images: Tensor) -> float:
    """Of the norms' outputs from 0 and 6, the smallest: what lies nearer than rounding passes on one side only."""
    outputs: list[Tensor] = []
    probe = copy.deepcopy(network).double()
    for module in probe.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda module, given, output: outputs.append(output))
    probe(images.double())
    return min(float((each - bound).abs().min()) for each in outputs for bound in (0, 6))


def joined(network: nn.Module) -> nn.Module:
    replace_depthwise(network)
    fuse_batch_norms(network)
    join_norm_depthwise(network)
    return network


def step(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Output, the gradients of the input and of all parameters by a weighted sum, and the running statistics."""
    images = images.clone().requires_grad_()
    output = network(images)
    factors = torch.randn(output.shape, generator=torch.Generator().manual_seed(3)).to(output)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad((output * factors).sum(), [images, *parameters])
    return [output, *gradients, *network.buffers()]


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("images", "height", "width"), [(3, 8, 8), (3, 7, 9), (5, 2, 1), (3, 30, 33)])
@pytest.mark.parametrize(("first", "second"), [(nn.ReLU6(), nn.ReLU6()), (nn.ReLU(), nn.ReLU6())], ids=str)
def test_results_are_those_of_the_parts_in_float64(
    images: int, height: int, width: int, stride: int, threads: int, first: nn.Module, second: nn.Module
) -> None:
    pixels = torch.randn(images, CHANNELS, height, width, generator=torch.Generator().manual_seed(2)) + 1
    drawn = (block(stride, first, second, seed) for seed in range(100))
    plain = next(each for each in drawn if distance_from_bounds(each, pixels) > 1e-5)
    fused = joined(copy.deepcopy(plain))
    torch.set_num_threads(threads)
    try:
        found = step(fused, pixels)
    finally:
        torch.set_num_threads(1)
    for theirs, ours in zip(step(plain.double(), pixels.double()), found, strict=True):
        torch.testing.assert_close(
            ours.double(), theirs.double(), rtol=1e-4, atol=5e-5 * float(theirs.detach().abs().max())
        )


@needs_compiler
def test_it_is_the_kernel_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    call = compiling.call
    monkeypatch.setattr(compiling, "call", lambda *args: (called.append(args[2]), call(*args))[1])
    step(joined(block(1, nn.ReLU6(), nn.ReLU6())), torch.randn(2, CHANNELS, 6, 6))
    assert called == ["norm_depthwise_forward", "norm_depthwise_backward"]


@pytest.mark.parametrize("case", ["evaluation", "frozen", "no gradients", "double"])
def test_everything_else_goes_through_the_modules(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = block(1, nn.ReLU6(), nn.ReLU6())
    if case == "evaluation":
        plain.eval()
    if case == "double":
        plain.double()
    if case == "frozen":
        plain[0][1].eval().requires_grad_(False)
    fused = joined(copy.deepcopy(plain))
    pixels = torch.randn(2, CHANNELS, 6, 6, dtype=torch.double if case == "double" else torch.float)
    monkeypatch.setattr(norm_depthwise, "apply", None)
    with torch.set_grad_enabled(case != "no gradients"):
        torch.testing.assert_close(fused(pixels), plain(pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backbone", "blocks"), [("mobilenet_v2", 16), ("efficientnet_b0", 0), ("resnet18", 0)])
def test_names_parameters_and_buffers_stay(backbone: str, blocks: int) -> None:
    network = Network(backbone, 10)
    assert sum(isinstance(module, NormDepthwise) for module in network.modules()) == blocks
    names = build_backbone(backbone, 10).state_dict().keys()
    assert network.backbone.state_dict().keys() == names
