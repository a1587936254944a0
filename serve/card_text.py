"""What an artifact's card says, in plain words: the same on the page and in an exported model card."""

from __future__ import annotations

from typing import Any

METRICS = {"acc": "accuracy", "top3": "top-3 accuracy", "ece": "expected calibration error", "loss": "cross-entropy"}


def uncertain(card: dict[str, Any]) -> str:
    """When an answer is called uncertain."""
    chosen = card.get("uncertain")
    if chosen is None:
        return "There was no validation split, so no answer is called uncertain."
    wanted = f"{100 * chosen['precision']:g}%"
    if chosen["threshold"] is None:
        return f"At no confidence were {wanted} of the validation images right, so every answer is called uncertain."
    return (
        f"An answer is called uncertain below a confidence of {100 * chosen['threshold']:.2f}%: the lowest from which "
        f"on {wanted} of the validation images were right. There it was {100 * chosen['reached']:.2f}%, and "
        f"{chosen['passing']:,} of {chosen['images']:,} passed."
    )


def preparation(card: dict[str, Any]) -> str:
    """What `datamodules.sources.decoding` and the network do to a picture."""
    stored, size = card["stored_size"], card["input_size"]
    mean, std = (", ".join(f"{value:g}" for value in card[name]) for name in ("mean", "std"))
    return (
        f"Turned upright by EXIF, RGB, transparency over white; the centre square at {stored} x {stored} pixels; "
        f"bilinear to {size} x {size}; divided by 255, less the mean {mean}, over the deviation {std}. Validation "
        "and test did the same; the network does the last two itself."
    )
