"""The artifact's card, model.json: what the network is, and how it is to be fed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.errors import ModelError

SCHEMA = 1
CARD, WEIGHTS = "model.json", "weights.safetensors"
NEEDED = {"backbone", "classes", "mean", "std"}  # to build the network


def read_card(folder: Path) -> dict[str, Any]:
    """The artifact's model.json, checked to be one that we understand."""
    if folder.is_file():
        raise ModelError(
            f"{folder} is a file; expected the folder with {CARD} that a finished fit leaves beside its checkpoints: "
            "runs/<name>/<version>/model."
        )
    try:
        card = json.loads((folder / CARD).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no model artifact at {folder} ({error}); expected a folder with {CARD}: runs/.../model."
        ) from error
    if not isinstance(card, dict):
        raise ModelError(f"{folder / CARD} is no model card: expected {', '.join(sorted(NEEDED))}.")
    if card.get("schema", 0) > SCHEMA:
        raise ModelError(
            f"{folder} has schema {card['schema']}, this program reads up to {SCHEMA}; update the program."
        )
    if missing := NEEDED - card.keys():
        raise ModelError(f"{folder / CARD} is no model card: it lacks {', '.join(sorted(missing))}.")
    return card
