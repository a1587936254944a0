"""From a stored image to class probabilities: the one way that page, labelling, export and benchmark go.

A stored image is what packing makes of a picture and what training, validation and test start from:
uint8 [3, S, S] by `datamodules.sources.decoding`. Sizes and normalisation come from the artifact.
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
    """An answer.

    Attributes:
        probabilities: by class, in the artifact's order.
        uncertain: less confident than what validation asks for; None where there was no validation.
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
        ModelError: there is none, or its card does not say how pictures are stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.trained, self.card = load_artifact(folder)
        if missing := [name for name in ("input_size", "stored_size") if self.card.get(name) is None]:
            raise ModelError(f"{folder}/model.json lacks {', '.join(missing)}; train again to get them.")
        self.reference = Pipeline(self.trained, self.card["input_size"])
        self.pipeline: Pipeline | OnnxPipeline = self.reference
        self.onnx: bytes | None = None  # the pipeline's file, where ONNX Runtime answers
        self._try_out()

    def _try_out(self) -> None:
        """Raise a ModelError where the network cannot answer at this size, or answers with no number."""
        grey = np.full((1, 3, self.stored_size, self.stored_size), 128, dtype=np.uint8)
        try:
            found = self.probabilities(grey)
        except (RuntimeError, ValueError, AssertionError) as error:  # of torchvision's networks
            raise ModelError(
                f"the {self.card['backbone']} of {self.folder} cannot take {self.reference.input_size} x "
                f"{self.reference.input_size} pixels ({reason(error)})."
            ) from error
        if not found.isfinite().all():
            raise ModelError(f"the weights of {self.folder} give probabilities that are NaN: its training diverged.")

    def accelerate(self) -> None:
        """Go over to ONNX Runtime, which folds and fuses what torch runs layer by layer.

        The first time takes many seconds, for the export. Where ONNX Runtime is missing, cannot run the backbone, or
        gives other answers, torch goes on.
        """
        size = self.stored_size
        images = np.random.default_rng(0).integers(0, 256, (2, 3, size, size), dtype=np.uint8)
        try:
            onnx_runtime()  # before the export
            content = cached_onnx_bytes(self.reference, size)
            quick = OnnxPipeline(content, torch.get_num_threads())
            worst = largest_difference(quick, self.reference, images)
        except ModelError as error:
            log.info("inference: by torch, layer by layer (%s)", error)
            return
        if not worst <= TOLERANCE:  # nor is NaN
            log.info("inference: by torch, layer by layer (ONNX Runtime's answers differ by %.1e)", worst)
            return
        log.info("inference: by ONNX Runtime (answers differ from torch's by %.1e)", worst)
        self.pipeline, self.onnx = quick, content

    @property
    def classes(self) -> list[str]:
        return self.card["classes"]

    @property
    def stored_size(self) -> int:
        return self.card["stored_size"]

    @torch.inference_mode()
    def probabilities(self, stored: np.ndarray) -> Tensor:
        """Of stored images, uint8 [n, 3, S, S]: float32 [n, C]."""
        return self.pipeline(torch.from_numpy(np.ascontiguousarray(stored)))

    def prediction(self, stored: np.ndarray) -> Prediction:
        """The answer for one stored image."""
        return self.predictions(stored[None])[0]

    def predictions(self, stored: np.ndarray) -> list[Prediction]:
        """The answers for several."""
        return [self._judge(row) for row in self.probabilities(stored).tolist()]

    def _judge(self, probabilities: list[float]) -> Prediction:
        chosen = self.card.get("uncertain")
        uncertain = None
        if chosen is not None:
            # Without a threshold that ensures the precision, no answer is certain.
            uncertain = chosen["threshold"] is None or not max(probabilities) >= chosen["threshold"]
        return Prediction(dict(zip(self.classes, probabilities, strict=True)), uncertain)

    def examples(self) -> list[tuple[dict[str, Any], Path]]:
        """Test images that came with the artifact and are still there: what is known of each, and its file."""
        # By the last part of its name: a card that somebody else wrote shall not reach out of the folder.
        entries = [{"label": "?", "predicted": "?"} | entry for entry in self.card.get("examples", [])]
        named = [(entry, self.folder / EXAMPLES / Path(entry["file"]).name) for entry in entries]
        return [(entry, path) for entry, path in named if path.is_file()]
