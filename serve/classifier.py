"""From a picture to class probabilities, as in training: decode, stored size, input size, network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datamodules.decode import fit, to_rgb
from datamodules.geometry import resample
from models.artifact import load_artifact


class Classifier:
    """A trained artifact that takes pictures.

    Args:
        folder: the artifact.

    Raises:
        ModelError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.network, self.card = load_artifact(folder)

    @property
    def classes(self) -> list[str]:
        return self.card["classes"]

    @torch.inference_mode()
    def probabilities(self, picture: Image.Image) -> dict[str, float]:
        """Probability of each class."""
        stored = np.asarray(fit(to_rgb(picture), self.card["stored_size"]))
        pixels = torch.from_numpy(stored.transpose(2, 0, 1).copy())[None].float() / 255
        logits = self.network(resample(pixels, self.card["input_size"]))
        return dict(zip(self.classes, logits[0].softmax(dim=0).tolist(), strict=True))
