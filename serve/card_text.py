"""The model card's sentences, which the page and an exported README.md share."""

from __future__ import annotations

from typing import Any

METRICS = {"acc": "accuracy", "top3": "top-3 accuracy", "ece": "expected calibration error", "loss": "cross-entropy"}
SPLITS = {"test": "test", "val": "validation"}
LIMITS = (
    "The model knows only these classes and assigns every picture to one of them, whatever the picture shows. Its "
    "accuracy was measured on images from the data set that it was trained on; expect less on other pictures."
)


def data_name(card: dict[str, Any]) -> str:
    """The data set's name, without the fingerprint of its packed cache; empty if it is not recorded."""
    data = str(card.get("provenance", {}).get("data") or "")
    return data.rpartition("-")[0] or data


def uncertain(card: dict[str, Any]) -> str:
    """When a prediction is called uncertain."""
    chosen = card.get("uncertain")
    if chosen is None:
        return "There was no validation split to choose a threshold on, so no answer is called uncertain."
    wanted = f"{100 * chosen['precision']:g}%"
    if chosen["threshold"] is None:
        return (
            f"No confidence threshold reached an accuracy of {wanted} on validation images, so every answer is called "
            "uncertain."
        )
    said = (
        f"Answers with a confidence below {100 * chosen['threshold']:.2f}% are called uncertain. This is the lowest "
        f"threshold at which the other answers reached an accuracy of {wanted} on validation images."
    )
    if chosen.get("reached") is None or chosen.get("passing") is None or chosen.get("images") is None:
        return said
    return (
        f"{said} Their accuracy was {100 * chosen['reached']:.2f}%, on {chosen['passing']:,} of "
        f"{chosen['images']:,} images."
    )


def preparation(card: dict[str, Any]) -> str:
    """What `datamodules.sources.decoding` and the network do to a picture."""
    stored, size = card["stored_size"], card["input_size"]
    mean, std = (", ".join(f"{value:g}" for value in card[name]) for name in ("mean", "std"))
    return (
        "The picture is rotated upright (EXIF) and converted to RGB, with transparent parts over white. Its centre "
        f"square is scaled to {stored} x {stored} pixels, then resized to {size} x {size} (bilinear) and divided by "
        f"255. The network itself normalises with mean {mean} and standard deviation {std}. Validation and test images "
        "were prepared in the same way."
    )


def loading_code(card: dict[str, Any]) -> str:
    """Python code that loads the network."""
    size = card["input_size"]
    return (
        "from models.artifact import load_artifact  # of laptop-to-cluster\n"
        'network, card = load_artifact("this/folder")\n'
        f"logits = network(pixels)  # float [n, 3, {size}, {size}] in [0, 1]\n"
        'label = card["classes"][logits[0].argmax()]'
    )
