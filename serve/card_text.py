"""What an artifact's card says, in plain words: the same on the page and in an exported model card."""

from __future__ import annotations

from typing import Any

METRICS = {"acc": "accuracy", "top3": "top-3 accuracy", "ece": "expected calibration error", "loss": "cross-entropy"}
SPLITS = {"test": "test", "val": "validation"}
LIMITS = (
    "It knows these classes only: a picture of anything else still gets one of them. It was measured on images of its "
    "own data set; expect less on pictures that were taken differently."
)


def data_name(card: dict[str, Any]) -> str:
    """The data set's name, without the fingerprint of its packed cache; empty where it is not known."""
    data = str(card.get("provenance", {}).get("data") or "")
    return data.rpartition("-")[0] or data


def uncertain(card: dict[str, Any]) -> str:
    """When a prediction is called uncertain."""
    chosen = card.get("uncertain")
    if chosen is None:
        return "There was no validation split, so no answer is called uncertain."
    wanted = f"{100 * chosen['precision']:g}%"
    if chosen["threshold"] is None:
        return f"At no confidence were {wanted} of the validation images right, so every answer is called uncertain."
    said = (
        f"An answer is called uncertain below a confidence of {100 * chosen['threshold']:.2f}%, the lowest above which "
        f"{wanted} of the answers on validation images were right."
    )
    if chosen.get("reached") is None or chosen.get("passing") is None or chosen.get("images") is None:
        return said
    return (
        f"{said} Above it, {100 * chosen['reached']:.2f}% were right, and {chosen['passing']:,} of "
        f"{chosen['images']:,} images were above it."
    )


def preparation(card: dict[str, Any]) -> str:
    """What `datamodules.sources.decoding` and the network do to a picture."""
    stored, size = card["stored_size"], card["input_size"]
    mean, std = (", ".join(f"{value:g}" for value in card[name]) for name in ("mean", "std"))
    return (
        f"Turned upright by EXIF; converted to RGB, transparency over white; the centre square scaled to {stored} x "
        f"{stored} pixels; resized to {size} x {size} (bilinear); divided by 255; normalised with mean {mean} and "
        f"standard deviation {std}. Validation and test prepare their images in the same way. The network normalises "
        "its input itself."
    )


def loading_code(card: dict[str, Any]) -> str:
    """How the network is loaded in Python."""
    size = card["input_size"]
    return (
        "from models.artifact import load_artifact  # of laptop-to-cluster\n"
        'network, card = load_artifact("this/folder")\n'
        f"logits = network(pixels)  # float [n, 3, {size}, {size}] in [0, 1]\n"
        'label = card["classes"][logits[0].argmax()]'
    )
