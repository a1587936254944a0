"""The program, python -m lightning_app <verb>, and its fit as a function: from lightning_app import fit."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_app.library.fit import Run, fit

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "fit"]


def __getattr__(name: str) -> Any:
    """`fit` and `Run`, imported on demand: every room imports this package, so it can import none of them."""
    if name in ("Run", "fit"):
        return getattr(importlib.import_module("lightning_app.library.fit"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
