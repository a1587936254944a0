"""The model as files that visitors may download: the artifact, without its test images, and ONNX."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse

from models.artifact import CARD, EXAMPLES, WEIGHTS
from serve.classifier import Classifier
from serve.export.model_card import model_card

ARTIFACT, ONNX = "artifact.zip", "model.onnx"


def write_downloads(classifier: Classifier, folder: Path) -> dict[str, Path]:
    """Write the files; returns their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    card = {name: value for name, value in classifier.card.items() if name != EXAMPLES}
    with zipfile.ZipFile(folder / ARTIFACT, "w") as archive:  # stored uncompressed: weights do not compress
        archive.write(classifier.folder / WEIGHTS, WEIGHTS)
        archive.writestr(CARD, json.dumps(card, indent=1))
        archive.writestr("README.md", model_card(classifier.card))
    files = {ARTIFACT: folder / ARTIFACT}
    if classifier.onnx is not None:
        (folder / ONNX).write_bytes(classifier.onnx)
        files[ONNX] = folder / ONNX
    return files


def described(files: dict[str, Path]) -> list[tuple[str, str]]:
    """Names and sizes, for the card."""
    return [(name, f"{path.stat().st_size / 1e6:.1f} MB") for name, path in files.items()]


def add_downloads(app: FastAPI, files: dict[str, Path]) -> None:
    """Add a route for each file."""
    for name, path in files.items():
        app.add_api_route(f"/download/{name}", responder(path, name), include_in_schema=False)


def responder(path: Path, name: str) -> Callable[[], FileResponse]:
    """A function that sends a file."""

    def send() -> FileResponse:
        return FileResponse(path, filename=name)

    return send
