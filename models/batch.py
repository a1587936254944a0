"""What a step takes: the DataModule's batches, which know the global batch, or any (images, labels)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from models.errors import ModelError


class Batch(Protocol):
    """A rank's share of a global batch; `datamodules.batches.ImageBatch` is one.

    Attributes:
        images: float [n, 3, size, size] in [0, 1]; the network normalises them.
        labels: int64 [n].
        indices: int64 [n], positions of the images in their data set; None if unknown.
        num_valid: leading images that count; the rest is padding.
        global_size: images that count in the global batch, over all ranks.
        mixed_labels: int64 [n], labels of the images mixed into these; None if nothing is mixed.
        own_share: share of an image that is its own; the rest is mixed in.
    """

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def indices(self) -> Tensor | None: ...
    @property
    def num_valid(self) -> int: ...
    @property
    def global_size(self) -> int: ...
    @property
    def mixed_labels(self) -> Tensor | None: ...
    @property
    def own_share(self) -> float: ...


@dataclass(frozen=True)
class PlainBatch:
    """A batch from another DataLoader, all of which counts."""

    images: Tensor
    labels: Tensor
    indices: Tensor | None
    num_valid: int
    global_size: int
    mixed_labels: Tensor | None = None
    own_share: float = 1.0


def as_batch(given: Any, world_size: int) -> Batch:
    """A Batch unchanged; (images, labels) as a batch of which every rank has an equal one, as DDP assumes.

    Raises:
        ModelError: it is neither.
    """
    if hasattr(given, "global_size"):
        return given
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(isinstance(part, Tensor) for part in given):
        images, labels = given
        return PlainBatch(images, labels, None, len(labels), world_size * len(labels))
    kinds = [type(part).__name__ for part in given] if isinstance(given, (tuple, list)) else type(given).__name__
    raise ModelError(f"a batch is {kinds}; expected (images, labels), two tensors, or an ImageBatch of datamodules.")


def images_of(given: Any) -> Tensor:
    """The images of a batch that may have no labels: a Batch, a tensor, or a tuple that starts with one."""
    if isinstance(given, Tensor):
        return given
    return given[0] if isinstance(given, (tuple, list)) and not hasattr(given, "images") else given.images
