"""Errors that Lightning or torch raises for an option, as one line for the user."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_app.errors import Stopped, UsageError, UserError

# Packages whose errors before the first step are about an option, by folder.
LIBRARIES = ("lightning", "lightning_utilities", "torch", "torchmetrics", "torchvision", "jsonargparse")
# How to fix what the library's message leaves open. The first matching pattern counts.
ADVICE = {
    r"view size is not compatible": "LBFGS cannot step a network in channels_last; choose another optimizer.",
    r"SparseAdam": "Choose an optimizer for dense gradients, for example torch.optim.AdamW.",
}
# What lightning_utilities adds for a missing package (core/imports.py, RequirementCache).
HINT = re.compile(r"\.?\s*HINT: Try running `pip install -U (.+?)`")
# jsonargparse's words around a class's own error, for options that accept several types.
BAD_CLASS = re.compile(r"Problem with given class_path '(.+?)': (.+?)(?: - Expected a | Given value|$)")


def option_error(error: Exception, began: bool) -> UsageError | None:
    """The error to show instead of one that a library raised; None if it is not a user's mistake.

    Args:
        began: whether an optimizer step has been taken. From then on, only what Lightning calls a misconfiguration
            counts: anything else may be a fault of the program or the machine.
    """
    if isinstance(error, (UserError, Stopped, OSError)):
        return None
    misconfigured = isinstance(error, MisconfigurationException)
    if not misconfigured and (began or not raised_by_a_library(error)):
        return None
    said = " ".join(str(error).split()) or type(error).__name__
    if refused := BAD_CLASS.search(said):
        said = f"{refused[1]} cannot be created: {refused[2]}"
    return UsageError(f"{HINT.sub('', said).rstrip('.')}. {how_to_mend(said)} (--debug shows the traceback).")


def how_to_mend(said: str) -> str:
    """What to do about a library's message."""
    if missing := HINT.search(said):
        return f"Install it: pip install {missing[1]}"
    known = (mend for pattern, mend in ADVICE.items() if re.search(pattern, said))
    return next(known, "Change or leave out that option")


def raised_by_a_library(error: Exception) -> bool:
    """Whether the innermost line is in a library, not in our code, the user's, or the code that connects the ranks."""
    frames = [Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__)]
    if any("distributed" in parts and "torch" in parts for parts in frames):
        return False
    return bool(frames) and package_of(frames[-1]) in LIBRARIES


def package_of(parts: tuple[str, ...]) -> str | None:
    """The package of a file below site-packages, given the parts of its path; None for other files."""
    if "site-packages" not in parts:
        return None
    return parts[len(parts) - parts[::-1].index("site-packages")]
