"""Depthwise convolutions of stride 2 whose backward is not slow in bf16 on a CPU.

For the gradient of their input, oneDNN 3.x (torch 2.14) picks `brgconv_strided` in bf16, which takes ten times as long
as float32 does: four of them were a third of MobileNetV2's whole step (docs/performance.md has the command). The same
gradient is a depthwise convolution of stride 1, which is fast: of the output's gradient, spread out with zeros in
between, with the kernel turned by 180 degrees (Dumoulin and Visin 2016, https://arxiv.org/abs/1603.07285, 4.5).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

STRIDE = (2, 2)


class StridedDepthwise(nn.Conv2d):
    """A Conv2d that `is_strided_depthwise`, of the same parameters and results."""

    def forward(self, images: Tensor) -> Tensor:
        """float [n, C, H, W] to [n, C, ceil(H / 2), ceil(W / 2)]."""
        if images.device.type != "cpu":
            return super().forward(images)
        return _StridedDepthwise.apply(images, self.weight)


class _StridedDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return F.conv2d(images, weight, None, STRIDE, half(weight), groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        # Autocast converted them on the way forward, and it is off on the way back.
        images, weight = (saved.to(grad.dtype) for saved in ctx.saved_tensors)
        of_images, of_weight = ctx.needs_input_grad
        spread = of_images and grad.dtype == torch.bfloat16  # in float32, oneDNN's own is twice as fast
        found = torch.ops.aten.convolution_backward(
            *(grad, images, weight, None, STRIDE, half(weight), (1, 1), False, (0, 0), len(weight)),
            [of_images and not spread, of_weight, False],
        )
        return spread_gradient(grad, images, weight) if spread else found[0], found[1]


def spread_gradient(grad: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the input, [n, C, H, W], from that of the output."""
    spread = torch.zeros_like(images)
    spread[:, :, ::2, ::2] = grad
    return F.conv2d(spread, weight.flip(2, 3), None, padding=half(weight), groups=len(weight))


def half(weight: Tensor) -> tuple[int, int]:
    """The padding that keeps the size at stride 1."""
    return weight.shape[2] // 2, weight.shape[3] // 2


def is_strided_depthwise(module: nn.Module) -> bool:
    """Whether it is a plain depthwise convolution of stride 2 with an odd kernel, padded by half of it."""
    return (
        type(module) is nn.Conv2d
        and module.stride == STRIDE
        and module.dilation == (1, 1)
        and module.groups == module.in_channels == module.out_channels
        and module.bias is None
        and module.padding_mode == "zeros"
        and all(size % 2 and pad == size // 2 for size, pad in zip(module.kernel_size, module.padding, strict=True))
    )


def replace_strided_depthwise(network: nn.Module) -> None:
    """Exchange a network's strided depthwise convolutions, in place; names and parameters stay."""
    for name, module in list(network.named_modules()):
        if is_strided_depthwise(module):
            faster = StridedDepthwise(
                module.in_channels, module.out_channels, module.kernel_size, STRIDE, module.padding,
                groups=module.groups, bias=False,
            )  # fmt: skip
            faster.weight = module.weight
            network.set_submodule(name, faster)
