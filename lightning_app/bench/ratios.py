"""The ratios measured in one round, and their spread over the rounds."""

from __future__ import annotations

import statistics

Figures = dict[str, float]  # images/s by contestant; for serving, the ratio itself
# What is divided by what, and what the ratio says.
RATIOS = {
    "the program / the original loop": ("program_original_augment", "original"),
    "the step: our model / torchvision's, channels_last": ("fixed_batch", "plain"),
    "the whole program / our model on one fixed batch": ("program", "fixed_batch"),
    "the same with the original's augmentation": ("program_original_augment", "fixed_batch"),
    "Lightning's loop / a bare loop": ("program", "bare_loop"),
    "torch.compile / without: our model on one fixed batch": ("compiled", "eager"),
    "2 ranks of one run / 2 independent ones": ("ddp", "independent"),
    "serving / plain eager fp32, one image": ("one picture", None),
    "serving / plain eager fp32, batches": ("batches", None),
}
# In a precision that we choose.
CONTESTANTS = ("program", "program_original_augment", "bare_loop", "fixed_batch", "plain", "compiled", "eager")


def ratios(rounds: list[dict[str, Figures]]) -> dict[str, Figures]:
    """Median, min and max over the rounds that measured both, by name.

    A ratio between the program's contestants includes their precision in its name; the original loop's is always fp32.
    """
    found: dict[str, Figures] = {}
    for name, (above, below) in RATIOS.items():
        precisions = sorted({each for one in rounds for each in one if each}) if above in CONTESTANTS else [""]
        for precision in precisions:
            values = [
                figures[above] / (figures[below] if below else 1)
                for one in rounds
                if (figures := one.get("", {}) | one.get(precision, {})).keys() >= {above, *([below] if below else [])}
            ]
            if values:
                spread = {"median": statistics.median(values), "min": min(values), "max": max(values)}
                found[f"{name}, {precision}" if precision else name] = spread
    return found


def table(found: dict[str, Figures]) -> str:
    """The ratios, for people."""
    rows = ["", f"{'times as fast':<64}{'median':>8}{'min':>8}{'max':>8}"]
    rows += [
        f"{name:<64}" + "".join(f"{spread[key]:8.3f}" for key in ("median", "min", "max"))
        for name, spread in found.items()
    ]
    return "\n".join(rows)
