"""The pipeline in torch.export's format, which PyTorch loads without our code."""

from __future__ import annotations

import io
import warnings

import torch
from torch import nn

from models.errors import ModelError
from serve.error_text import reason


def pt2_bytes(pipeline: nn.Module, stored_size: int) -> bytes:
    """The pipeline as a .pt2 file: uint8 [n, 3, S, S] to float [n, C], for any n.

    Raises:
        ModelError: torch cannot export the backbone.
    """
    example = torch.zeros(2, 3, stored_size, stored_size, dtype=torch.uint8)  # two: torch.export fixes a size of one
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.export warns about its own internals
            program = torch.export.export(pipeline, (example,), dynamic_shapes=({0: torch.export.Dim("n")},))
            torch.export.save(program, file)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"torch cannot export this backbone ({reason(error)}).") from error
    return file.getvalue()


def load_pt2(content: bytes) -> nn.Module:
    """The callable module in a .pt2 file."""
    return torch.export.load(io.BytesIO(content)).module()
