"""Small constant tensors, created once per device.

A GPU makes the CPU wait while it copies one, so no batch should create them.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Numbers as a tensor with another tensor's dtype and device."""
    return made(values, like.dtype, like.device)


def pixel_centers(size: int, like: Tensor) -> Tensor:
    """Centres of `size` pixels on a line from -1 to 1, with another tensor's dtype and device."""
    return centers(size, like.dtype, like.device)


@cache
def made(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


@cache
def centers(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return (torch.arange(size, device=device, dtype=dtype) * 2 + 1) / size - 1
