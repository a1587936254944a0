"""BatchNorm and its activation in one operation, for training on a CPU.

torch reads and writes the whole tensor thirteen times for BatchNorm and ReLU6, forward and backward, which was 0.45 of
MobileNetV2's step at 224, bound by memory traffic. models/kernels/batch_norm.c does it in eight passes. Parameters,
buffers and results are those of torch's modules, which handle everything else: evaluation, GPUs, torch.compile, other
types and layouts, and machines without a C compiler.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.kernels import compiling

SOURCE = Path(__file__).with_name("batch_norm.c")
UNBOUNDED = (-math.inf, math.inf)


class FusedBatchNorm(nn.BatchNorm2d):
    """A BatchNorm2d that also applies the activation after it, if the kernel can.

    Args:
        norm: its parameters and buffers are taken over.
        bounds: the activation after it clamps to these.

    Attributes:
        activated: whether the last forward pass has clamped. `ActivationBehind` asks, so a conversion that replaces
            this BatchNorm (as SyncBatchNorm's does) loses no activation.
    """

    def __init__(self, norm: nn.BatchNorm2d, bounds: tuple[float, float] = UNBOUNDED) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.training = norm.training
        for name, buffer in norm.named_buffers():
            setattr(self, name, buffer)
        self.bounds, self.activated = bounds, False

    def forward(self, images: Tensor) -> Tensor:
        """float [n, C, H, W] to the same."""
        decays = self.momentum is not None  # otherwise the running statistics are cumulative means
        if not (self.training and decays and self.weight.dtype == torch.float32 and takes(images)):
            return super().forward(images)
        normalised, mean, var = _BatchNorm.apply(images, self.weight, self.bias, self.eps, *self.bounds)
        self.track(mean, var, images.numel() // self.num_features)
        self.activated = True
        return normalised

    def track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Update the running statistics, as torch does: their variance is the unbiased one."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)


class ActivationBehind(nn.Module):
    """An activation that is skipped if the BatchNorm before it has just applied it.

    Args:
        activation: ReLU6 or ReLU.
        norm: the preceding module; referenced, but not a submodule.
    """

    def __init__(self, activation: nn.Module, norm: FusedBatchNorm) -> None:
        super().__init__()
        self.activation, self.norm = activation, (norm,)

    def forward(self, values: Tensor) -> Tensor:
        """float of any shape to the same."""
        if torch.compiler.is_compiling():
            return self.activation(values)
        [norm] = self.norm
        applied, norm.activated = norm.activated, False
        return values if applied else self.activation(values)


BOUNDS = {nn.ReLU6: (0.0, 6.0), nn.ReLU: (0.0, math.inf)}


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, eps: float, low: float, high: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)
        normalised = torch.empty_like(images)
        mean, rstd, var = torch.empty(3, len(weight)).unbind()
        compiling.call(
            SOURCE,
            compiling.element(images),
            "batch_norm_forward",
            *(images, normalised, images.numel() // len(weight), len(weight)),
            *(weight, bias, ctypes.c_double(eps), low, high, mean, rstd, var),
        )
        ctx.save_for_backward(images, weight, bias, mean, rstd)
        ctx.bounds = low, high
        ctx.mark_non_differentiable(mean, var)
        return normalised, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *of_statistics: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, bias, mean, rstd = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_images = torch.empty_like(images)
        of_weight, of_bias = torch.empty(2, len(weight)).unbind()
        compiling.call(
            SOURCE,
            compiling.element(images),
            "batch_norm_backward",
            *(images, grad, of_images, images.numel() // len(weight), len(weight)),
            *(weight, bias, mean, rstd, *ctx.bounds, of_weight, of_bias),
        )
        return of_images, of_weight, of_bias, None, None, None


def takes(images: Tensor) -> bool:
    """Whether the kernel accepts these images."""
    return (
        images.device.type == "cpu"
        and images.dtype in compiling.BITS
        and images.numel() > images.shape[1]  # for a single value, torch raises an error
        and not torch.compiler.is_compiling()
        and compiling.load(SOURCE, *compiling.element(images)) is not None
    )


def fuse_batch_norms(network: nn.Module) -> None:
    """Replace a network's BatchNorms, in place, each with the ReLU6 or ReLU that follows it in a Sequential.

    Names, parameters and buffers do not change.
    """
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (name, norm), (behind, activation) in zip(children, [*children[1:], ("", None)], strict=False):
            if not is_plain(norm):
                continue
            if isinstance(parent, nn.Sequential) and activation is not None and type(activation) in BOUNDS:
                fused = FusedBatchNorm(norm, BOUNDS[type(activation)])
                setattr(parent, behind, ActivationBehind(activation, fused))
            else:
                fused = FusedBatchNorm(norm)
            setattr(parent, name, fused)


def is_plain(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is torch's BatchNorm with weights, and running statistics that decay."""
    return (
        type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats and module.momentum is not None
    )
