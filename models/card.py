"""The artifact's card, model.json: what the network is, and how to feed it; one schema for every reader."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator as Check
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

from models.errors import ModelError

SCHEMA = 1
CARD, WEIGHTS = "model.json", "weights.safetensors"
NEEDED = ("backbone", "classes", "mean", "std")  # to build the network
SHOWN = 60  # characters of what was found
Side = Annotated[int, Field(ge=1, le=4096)]  # pixels
Deviation = Annotated[FiniteFloat, Field(gt=1e-6)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Split = Literal["test", "val"]
Curve = Literal["train/loss", "val/loss", "test/loss", "train/acc", "val/acc", "test/acc"]
Scalar = str | int | FiniteFloat | bool | None


def printable(name: str) -> str:
    """A name without control characters; bidirectional marks do not count as such."""
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError("it has a control character")
    return name


def unique(names: list[str]) -> list[str]:
    """Names without duplicates."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice[0]!r} appears twice")
    return names


Text = Annotated[str, Field(max_length=2000), Check(printable)]
Name = Annotated[str, Field(min_length=1, max_length=500), Check(printable)]


class Uncertain(BaseModel):
    """The confidence below which a prediction is uncertain; see models.metrics.confidence_threshold."""

    precision: Share
    threshold: Share | None
    reached: Share | None = None
    passing: NonNegativeInt | None = None
    images: NonNegativeInt | None = None


class Example(BaseModel):
    """A test image that came with the artifact."""

    file: Name
    label: Name = "?"
    predicted: Name = "?"


class ModelCard(BaseModel):
    """The content of model.json; it may have more keys."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())

    version: Annotated[int, Field(ge=0, alias="schema")] = 0
    backbone: Name
    classes: Annotated[list[Name], Field(min_length=1), Check(unique)]
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[Deviation, Deviation, Deviation]
    input_size: Side | None = None
    stored_size: Side | None = None
    metrics: dict[Name, FiniteFloat] = {}
    confusion: dict[Split, list[list[NonNegativeInt]]] = {}
    per_class_accuracy: dict[Split, dict[Name, float | None]] = {}
    uncertain: Uncertain | None = None
    curves: dict[Curve, list[tuple[NonNegativeInt, FiniteFloat]]] = {}
    provenance: dict[Name, Scalar] = {}
    examples: list[Example] = []


def check_card(content: bytes) -> ModelCard:
    """The card in a file.

    Raises:
        ValueError: it is invalid; one line says where, what was found and what was expected.
    """
    try:
        card = ModelCard.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None
    count = len(card.classes)
    for split, rows in card.confusion.items():
        if len(rows) != count or any(len(row) != count for row in rows):
            raise ValueError(f"confusion.{split}: expected {count} rows of {count} counts, as there are classes")
    return card


def first_fault(error: ValidationError) -> str:
    """One line from pydantic's many: what is missing, else the first wrong value."""
    faults = error.errors(include_url=False)
    missing = sorted(str(fault["loc"][0]) for fault in faults if fault["type"] == "missing" and len(fault["loc"]) == 1)
    if missing:
        return f"it lacks {', '.join(missing)}"
    if faults[0]["type"] == "model_type":
        return f"expected {', '.join(NEEDED)}"
    if faults[0]["type"] == "json_invalid":
        return faults[0]["msg"]
    return f"{'.'.join(map(str, faults[0]['loc']))}: {faults[0]['msg']}; found {faults[0]['input']!r:.{SHOWN}}"


def read_card(folder: Path) -> dict[str, Any]:
    """The artifact's model.json, checked to be one that we understand, in a folder without links."""
    if folder.is_file():
        raise ModelError(
            f"{folder} is a file; expected the folder with {CARD} that a finished fit leaves beside its checkpoints: "
            "runs/<name>/<version>/model."
        )
    check_files(folder)
    try:
        content = (folder / CARD).read_bytes()
    except OSError as error:
        raise ModelError(
            f"no model artifact at {folder} ({error}); expected a folder with {CARD}: runs/.../model."
        ) from error
    try:
        version = check_card(content).version
    except ValueError as error:
        raise ModelError(f"{folder / CARD} is not a valid model card: {error}.") from error
    if version > SCHEMA:  # new keys are allowed; a changed type is an error above
        raise ModelError(f"{folder} has schema {version}, but this program reads up to {SCHEMA}; update the program.")
    return json.loads(content)


def check_files(folder: Path) -> None:
    """Raise a ModelError for a link, which would expose any file on this machine, and for what cannot be read."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ModelError(f"{path} is a link or not a regular file; copy the artifact with `cp -rL` and inspect it.")
        if not os.access(path, os.R_OK):
            raise ModelError(f"{path} cannot be read (permission denied); ask its owner for `chmod -R a+rX {folder}`.")
