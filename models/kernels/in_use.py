"""Whether a training step on this machine runs our kernels or torch's own."""

from __future__ import annotations

from models.kernels import batch_norm, compiling, depthwise, norm_depthwise


def kernels_in_use() -> dict[str, bool]:
    """By name, whether a kernel replaces torch's own on a CPU; compiles those that are not compiled yet.

    Results differ in their last bits, so a run's facts have this: a run that is resumed where it differs does not go on
    to the same bits.
    """
    return {
        "batch_norm": compiling.load(batch_norm.SOURCE, "-DELEMENT_BITS=32") is not None,
        "depthwise": compiling.load(depthwise.SOURCE, "-DELEMENT_BITS=32") is not None,
        "norm_depthwise": compiling.load(norm_depthwise.SOURCE, "-DELEMENT_BITS=32") is not None,
    }
