"""Whether a training step on this machine runs our kernels or torch's."""

from __future__ import annotations

from models.kernels import batch_norm, compiling, depthwise, norm_depthwise


def kernels_in_use() -> dict[str, bool]:
    """By name, whether a kernel replaces torch's on a CPU; compiles those not compiled yet.

    Results differ in the last bits, so this is part of a run's facts: a run that is resumed with other kernels does not
    end with the same bits.
    """
    return {
        "batch_norm": compiling.load(batch_norm.SOURCE, "-DELEMENT_BITS=32") is not None,
        "depthwise": compiling.load(depthwise.SOURCE, "-DELEMENT_BITS=32") is not None,
        "norm_depthwise": compiling.load(norm_depthwise.SOURCE, "-DELEMENT_BITS=32") is not None,
    }
