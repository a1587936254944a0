"""Depthwise convolutions whose backward pass is not slow in bf16 on a CPU.

For the gradient of the input at stride 2, oneDNN 3.x (torch 2.14) picks `brgconv_strided` in bf16, which takes ten
times as long as float32: four of them took a third of MobileNetV2's whole step (docs/performance.md has the command).
models/kernels/depthwise.c computes it. For large images it also computes the gradient of the weights, where oneDNN
walks through memory channel by channel; and it handles results smaller than the kernel, where oneDNN takes 60 to 90
times as long. If the kernel does not apply, the gradient of the input is a depthwise convolution of stride 1, which is
fast: of the output's gradient, spread out with zeros, with the kernel rotated by 180 degrees (Dumoulin and Visin 2016,
https://arxiv.org/abs/1603.07285, 4.5).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.kernels import compiling

SOURCE = Path(__file__).with_name("depthwise.c")
STRIDES = ((1, 1), (2, 2))
LANES = 16  # channels that the kernel processes at once
KERNEL = (3, 3)
LARGE = 1 << 18  # elements of an image from which our weight gradient is the faster one in bf16
SMALL = 3  # side of the result below which it is faster too


class Depthwise(nn.Conv2d):
    """A Conv2d that `is_depthwise`, with the same parameters and results; only its backward pass differs."""

    def forward(self, images: Tensor) -> Tensor:
        """float [n, C, H, W] to [n, C, ceil(H / stride), ceil(W / stride)]."""
        if images.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(images)
        return _Depthwise.apply(images, self.weight, self.stride)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        return F.conv2d(images, weight, None, stride, half(weight), groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        # Autocast converted them in the forward pass, and is off in the backward pass.
        images, weight = (saved.to(grad.dtype) for saved in ctx.saved_tensors)
        of_images, of_weight = ctx.needs_input_grad[:2]
        kernel = has_kernel(images, weight)
        quicker = kernel and is_quicker(images, grad)
        slow = of_images and ctx.stride == (2, 2) and grad.dtype == torch.bfloat16  # in float32, oneDNN's is fast
        for_images, for_weight, _ = torch.ops.aten.convolution_backward(
            *(grad, images, weight, None, ctx.stride, half(weight), (1, 1), False, (0, 0), len(weight)),
            [of_images and not slow, of_weight and not quicker, False],
        )
        if slow:
            for_images = images_gradient(grad, images, weight) if kernel else spread_gradient(grad, images, weight)
        if of_weight and quicker:
            for_weight = weight_gradient(grad, images, weight, ctx.stride[0])
        return for_images, for_weight, None


def is_quicker(images: Tensor, grad: Tensor) -> bool:
    """Whether our weight gradient takes less time than oneDNN's.

    In float32 it does for every layer of MobileNetV2 at 224 (1.1 to 4 times, one thread of an AMD EPYC with AVX2).
    """
    return images.dtype == torch.float32 or images[0].numel() >= LARGE or min(grad.shape[2:]) < SMALL


def has_kernel(images: Tensor, weight: Tensor) -> bool:
    """Whether models/kernels/depthwise.c can compute gradients for these."""
    return (
        images.dtype in compiling.BITS
        and weight.shape[2:] == KERNEL
        and len(weight) % LANES == 0
        and compiling.load(SOURCE, *compiling.element(images)) is not None
    )


def weight_gradient(grad: Tensor, images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of the weights [C, 1, 3, 3], float32, from the output's."""
    images, grad = (each.contiguous(memory_format=torch.channels_last) for each in (images, grad))
    taps = torch.empty(9, len(weight))
    n, channels, height, width = images.shape
    compiling.call(
        SOURCE, compiling.element(images), "depthwise_weights", images, grad, taps, n, height, width, channels, stride
    )
    return taps.t().reshape(weight.shape)


def images_gradient(grad: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the input [n, C, H, W] from the output's, at stride 2."""
    grad = grad.contiguous(memory_format=torch.channels_last)
    of_images = torch.empty_like(images, memory_format=torch.channels_last)
    taps = weight.float().reshape(len(weight), 9).t().contiguous()
    n, channels, height, width = images.shape
    compiling.call(
        SOURCE, compiling.element(images), "depthwise_images", grad, taps, of_images, n, height, width, channels
    )
    return of_images


def spread_gradient(grad: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the input, [n, C, H, W], from the output's."""
    spread = torch.zeros_like(images)
    spread[:, :, ::2, ::2] = grad
    return F.conv2d(spread, weight.flip(2, 3), None, padding=half(weight), groups=len(weight))


def half(weight: Tensor) -> tuple[int, int]:
    """The padding that keeps the size at stride 1."""
    return weight.shape[2] // 2, weight.shape[3] // 2


def is_depthwise(module: nn.Module) -> bool:
    """Whether it is a plain depthwise convolution of stride 1 or 2 with an odd kernel, padded by half of it."""
    return (
        type(module) is nn.Conv2d
        and module.stride in STRIDES
        and module.dilation == (1, 1)
        and module.groups == module.in_channels == module.out_channels
        and module.bias is None
        and module.padding_mode == "zeros"
        and all(size % 2 and pad == size // 2 for size, pad in zip(module.kernel_size, module.padding, strict=True))
    )


def replace_depthwise(network: nn.Module) -> None:
    """Replace a network's depthwise convolutions, in place; names and parameters do not change."""
    for name, module in list(network.named_modules()):
        if is_depthwise(module):
            faster = Depthwise(
                module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,
                groups=module.groups, bias=False,
            )  # fmt: skip
            faster.weight = module.weight
            network.set_submodule(name, faster)
