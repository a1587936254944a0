"""From a stored image to class probabilities: the path that the page, labelling, export and benchmark share.

A stored image, uint8 [3, S, S], is what `datamodules.sources.decoding` makes of a picture. Training, validation and
test start from it too. Sizes and normalisation come from the artifact.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.artifact import EXAMPLES, load_artifact
from models.errors import ModelError
from serve.error_text import reason
from serve.onnx_cache import cached_onnx_bytes
from serve.onnx_export import TOLERANCE, OnnxPipeline, largest_difference, onnx_runtime
from serve.pipeline import Pipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A prediction for one picture.

    Attributes:
        probabilities: by class, in the artifact's order.
        uncertain: whether the confidence is below the threshold; None if no threshold was chosen.
    """

    probabilities: dict[str, float]
    uncertain: bool | None

    @property
    def label(self) -> str:
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def confidence(self) -> float:
        return self.probabilities[self.label]

    def ranked(self, count: int) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:count]


class Classifier:
    """A trained artifact, ready to answer.

    Args:
        folder: the artifact.

    Raises:
        ModelError: the folder is no artifact, its card lacks a size, or the network cannot predict.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.trained, self.card = load_artifact(folder)
        if missing := [name for name in ("input_size", "stored_size") if self.card.get(name) is None]:
            raise ModelError(f"{folder}/model.json lacks {', '.join(missing)}; train again to get them.")
        self.reference = Pipeline(self.trained, self.card["input_size"])
        self.pipeline: Pipeline | OnnxPipeline = self.reference
        self.onnx: bytes | None = None  # the pipeline's file, if ONNX Runtime answers
        self._try_out()

    def _try_out(self) -> None:
        """Raise a ModelError if the network fails at this size, or gives NaN."""
        grey = np.full((1, 3, self.stored_size, self.stored_size), 128, dtype=np.uint8)
        try:
            found = self.probabilities(grey)
        except (RuntimeError, ValueError, AssertionError) as error:  # of torchvision's networks
            raise ModelError(
                f"the {self.card['backbone']} of {self.folder} cannot process {self.reference.input_size} x "
                f"{self.reference.input_size} pixels ({reason(error)})."
            ) from error
        if not found.isfinite().all():
            raise ModelError(f"the weights of {self.folder} give NaN probabilities: training diverged. Train again.")

    def accelerate(self) -> None:
        """Switch to ONNX Runtime, which folds and fuses the layers that torch runs one by one.

        The first time, the export takes many seconds. If ONNX Runtime is missing, cannot run the backbone, or gives
        different answers, torch stays in use.
        """
        size = self.stored_size
        images = np.random.default_rng(0).integers(0, 256, (2, 3, size, size), dtype=np.uint8)
        try:
            onnx_runtime()  # fails before the slow export
            content = cached_onnx_bytes(self.reference, size)
            quick = OnnxPipeline(content, torch.get_num_threads())
            worst = largest_difference(quick, self.reference, images)
        except ModelError as error:
            log.info("inference with torch (%s)", error)
            return
        if not worst <= TOLERANCE:  # NaN fails too
            log.info("inference with torch (ONNX Runtime's probabilities differ by %.1e)", worst)
            return
        log.info("inference with ONNX Runtime (probabilities differ from torch's by %.1e)", worst)
        self.pipeline, self.onnx = quick, content

    @property
    def classes(self) -> list[str]:
        return self.card["classes"]

    @property
    def stored_size(self) -> int:
        return self.card["stored_size"]

    @torch.inference_mode()
    def probabilities(self, stored: np.ndarray) -> Tensor:
        """Stored images, uint8 [n, 3, S, S], to probabilities, float32 [n, C]."""
        return self.pipeline(torch.from_numpy(np.ascontiguousarray(stored)))

    def prediction(self, stored: np.ndarray) -> Prediction:
        """The prediction for one stored image, uint8 [3, S, S]."""
        return self.predictions(stored[None])[0]

    def predictions(self, stored: np.ndarray) -> list[Prediction]:
        """The predictions for stored images, uint8 [n, 3, S, S]."""
        return [self._judge(row) for row in self.probabilities(stored).tolist()]

    def _judge(self, probabilities: list[float]) -> Prediction:
        chosen = self.card.get("uncertain")
        uncertain = None
        if chosen is not None:
            # If no threshold reached the accuracy, every answer is uncertain.
            uncertain = chosen["threshold"] is None or not max(probabilities) >= chosen["threshold"]
        return Prediction(dict(zip(self.classes, probabilities, strict=True)), uncertain)

    def examples(self) -> list[tuple[dict[str, Any], Path]]:
        """The artifact's test images that still exist: each one's entry in the card, and its file."""
        # Only the last part of the name counts: a card from somebody else must not name files outside the folder.
        entries = [{"label": "?", "predicted": "?"} | entry for entry in self.card.get("examples", [])]
        named = [(entry, self.folder / EXAMPLES / Path(entry["file"]).name) for entry in entries]
        return [(entry, path) for entry, path in named if path.is_file()]
