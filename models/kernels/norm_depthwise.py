"""The middle of an inverted residual as one operation, for training in float32 on a CPU.

MobileNetV2's step is bound by memory traffic, most of it between the two dense convolutions of a block: BatchNorm,
ReLU6, depthwise convolution, BatchNorm, ReLU6. models/kernels/norm_depthwise.c does all of that in 14 passes over
memory, forward and backward, where the separate kernels take 22, and keeps one tensor less for the backward pass.

Modules, names, parameters, buffers and results do not change. The separate modules handle everything else: evaluation,
GPUs, torch.compile, other types, frozen or unusual layers, and machines without a C compiler.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.kernels import compiling
from models.kernels.batch_norm import ActivationBehind, FusedBatchNorm
from models.kernels.depthwise import Depthwise

SOURCE = Path(__file__).with_name("norm_depthwise.c")
LANES = 16  # channels come in multiples of the widest vector


class NormDepthwise(nn.Sequential):
    """A Sequential whose first two children are (convolution, norm, ...) and (depthwise convolution, norm, ...)."""

    def forward(self, images: Tensor) -> Tensor:
        """float [n, C, H, W], as the children one after the other."""
        expand, depthwise, *rest = self
        # By position: a conversion, for example to SyncBatchNorm, may have put another norm there.
        (convolution, first, *behind), (middle, second, *_) = expand.children(), depthwise.children()
        images = convolution(images)
        if takes(images, first, middle, second):
            images = apply(images, first, middle, second)
        else:
            for module in (first, *behind, depthwise):
                images = module(images)
        for child in rest:
            images = child(images)
        return images


def apply(images: Tensor, first: nn.Module, depthwise: nn.Module, second: nn.Module) -> Tensor:
    """The norms with their activations and the convolution between them; updates the running statistics."""
    assert isinstance(first, FusedBatchNorm)
    assert isinstance(depthwise, Depthwise)
    assert isinstance(second, FusedBatchNorm)
    output, mean1, var1, mean2, var2 = _NormDepthwise.apply(
        images,
        *(first.weight, first.bias, first.eps, first.bounds),
        *(depthwise.weight, depthwise.stride[0]),
        *(second.weight, second.bias, second.eps, second.bounds),
        second.running_mean,
    )
    channels = images.shape[1]
    first.track(mean1, var1, images.numel() // channels)
    second.track(mean2, var2, output.numel() // channels)
    return output


class _NormDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight1: Tensor,
        bias1: Tensor,
        eps1: float,
        bounds1: tuple[float, float],
        kernel: Tensor,
        stride: int,
        weight2: Tensor,
        bias2: Tensor,
        eps2: float,
        bounds2: tuple[float, float],
        shift: Tensor,
    ) -> tuple[Tensor, ...]:
        images = images.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = images.shape
        out_shape = (n, channels, (height - 1) // stride + 1, (width - 1) // stride + 1)
        inner, output = (
            torch.empty(out_shape, dtype=images.dtype, memory_format=torch.channels_last) for _ in range(2)
        )
        taps = kernel.reshape(channels, 9).t().contiguous()
        mean1, rstd1, var1, mean2, rstd2, var2 = torch.empty(6, channels).unbind()
        compiling.call(
            SOURCE,
            compiling.element(images),
            "norm_depthwise_forward",
            *(images, inner, output, n, height, width, channels, stride),
            *(weight1, bias1, ctypes.c_double(eps1), *bounds1, taps),
            *(weight2, bias2, ctypes.c_double(eps2), *bounds2, shift),
            *(mean1, rstd1, var1, mean2, rstd2, var2),
        )
        ctx.save_for_backward(images, inner, weight1, bias1, taps, weight2, bias2, mean1, rstd1, mean2, rstd2)
        ctx.stride, ctx.bounds1, ctx.bounds2 = stride, bounds1, bounds2
        statistics = mean1, var1, mean2, var2
        ctx.mark_non_differentiable(*statistics)
        return output, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *of_statistics: Tensor) -> tuple[Tensor | None, ...]:
        images, inner, weight1, bias1, taps, weight2, bias2, mean1, rstd1, mean2, rstd2 = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = images.shape
        of_images = torch.empty_like(images)
        of_weight1, of_bias1, of_weight2, of_bias2 = torch.empty(4, channels).unbind()
        of_taps = torch.empty_like(taps)
        compiling.call(
            SOURCE,
            compiling.element(images),
            "norm_depthwise_backward",
            *(images, inner, grad, of_images, n, height, width, channels, ctx.stride),
            *(weight1, bias1, *ctx.bounds1, taps, weight2, bias2, *ctx.bounds2, mean1, rstd1, mean2, rstd2),
            *(of_weight1, of_bias1, of_taps, of_weight2, of_bias2),
        )
        of_kernel = of_taps.t().reshape(channels, 1, 3, 3)
        return of_images, of_weight1, of_bias1, None, None, of_kernel, None, of_weight2, of_bias2, None, None, None


def takes(images: Tensor, first: nn.Module, depthwise: nn.Module, second: nn.Module) -> bool:
    """Whether the kernel accepts these: training in float32 on a CPU, with gradients for everything."""
    if not (
        isinstance(first, FusedBatchNorm) and isinstance(depthwise, Depthwise) and isinstance(second, FusedBatchNorm)
    ):
        return False
    parameters = (first.weight, first.bias, second.weight, second.bias, depthwise.weight)
    return (
        (images.dtype, images.device.type) == (torch.float32, "cpu")
        and torch.is_grad_enabled()
        and images.requires_grad
        and all(each.requires_grad and each.dtype == torch.float32 for each in parameters)
        and all(norm.training and norm.momentum is not None for norm in (first, second))
        and images.numel() > images.shape[1] * 4  # for a single value, torch raises an error
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and compiling.load(SOURCE, *compiling.element(images)) is not None
    )


def join_norm_depthwise(network: nn.Module) -> None:
    """Replace, in place, each Sequential that starts as NormDepthwise expects; names and parameters do not change."""
    for name, module in list(network.named_modules()):
        if name and type(module) is nn.Sequential and begins_so(list(module)):
            network.set_submodule(name, NormDepthwise(OrderedDict(module.named_children())))


def begins_so(children: list[nn.Module]) -> bool:
    """Whether the first two children are (convolution, norm) and (3x3 depthwise convolution, norm)."""
    if len(children) < 2:
        return False
    first, second = (list(child.children()) for child in children[:2])
    return (
        is_normed(first)
        and is_normed(second)
        and isinstance(second[0], Depthwise)
        and second[0].kernel_size == (3, 3)
        and second[0].out_channels % LANES == 0
    )


def is_normed(modules: list[nn.Module]) -> bool:
    """A convolution, its norm, and the activation that the norm applies."""
    return (
        len(modules) >= 2
        and isinstance(modules[0], nn.Conv2d)
        and isinstance(modules[1], FusedBatchNorm)
        and all(type(rest) is ActivationBehind for rest in modules[2:])
    )
