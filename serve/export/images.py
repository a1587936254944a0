"""Real images for an export: a few to compare on, labelled ones to calibrate and measure int8."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules.errors import DataError
from datamodules.sources.decoding import decode_image
from datamodules.sources.folder import ImageFolder
from serve.label.command import decode
from serve.label.inputs import contents, part_of

if TYPE_CHECKING:  # torch, which would slow down --help
    from serve.classifier import Classifier

CHECKED = 64  # images, unless there are fewer
BATCH = 64


def check_images(model: Classifier, folder: Path | None) -> np.ndarray:
    """A few images, stored: uint8 [n, 3, S, S].

    Raises:
        DataError: there are none, or one cannot be read.
    """
    paths = [folder] if folder else [path for _, path in model.examples()]
    files = chain.from_iterable(contents(part_of(path)) for path in paths)
    found = [(path, decode(content, model.stored_size)) for path, content in islice(files, CHECKED)]
    for path, image in found:
        if isinstance(image, Exception):
            raise DataError(f"cannot compare with torch on {path} ({image}); name other --images.")
    if not found:
        raise DataError("the artifact contains no test images to compare with torch on; name some with --images.")
    return np.stack([image for _, image in found if isinstance(image, np.ndarray)])


class LabelledImages:
    """The validation and test images of a folder or an archive, as training reads them.

    Args:
        root: the data set, with train/<class>/*, test/<class>/* and perhaps val/.
        model: its classes include the data set's.

    Raises:
        DataError: it has no test images, or classes that the model does not know.
    """

    def __init__(self, root: Path, model: Classifier) -> None:
        self.size, self.source = model.stored_size, ImageFolder(root)
        rows = self.source.layout.rows
        if unknown := sorted({label for _, label, _ in rows} - set(model.classes)):
            raise DataError(f"{root} has classes that the model does not know: {', '.join(unknown)}.")
        self.test = {entry.name: model.classes.index(label) for split, label, entry in rows if split == "test"}
        names = {split: [entry.name for each, _, entry in rows if each == split] for split in ("val", "train")}
        self.calibration = names["val"] or names["train"]
        if not self.test or not self.calibration:
            raise DataError(
                f"{root} needs images in test/<class>/ to measure on, and in val/ or train/ to calibrate with."
            )

    def to_calibrate(self, count: int) -> np.ndarray:
        """Stored images of all classes: uint8 [n, 3, S, S], n up to count."""
        chosen = self.calibration[:: -(-len(self.calibration) // count)]
        return np.stack([decode_image(load(), self.size) for _, load in self.source.files.loads(chosen)])

    def to_measure(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All test images in batches: stored, uint8 [n, 3, S, S], and labels, int [n]."""
        loads = self.source.files.loads(list(self.test))
        while batch := list(islice(loads, BATCH)):
            images = np.stack([decode_image(load(), self.size) for _, load in batch])
            yield images, np.array([self.test[name] for name, _ in batch])
