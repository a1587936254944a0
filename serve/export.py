"""export: the model as files that other runtimes load, and a model card for people."""

from __future__ import annotations

import argparse
import json
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules.errors import DataError
from lightning_app.errors import UsageError
from lightning_app.files import output, replace_file
from models.errors import ModelError
from serve.label import contents, decode, part_of
from serve.model_card import model_card

if TYPE_CHECKING:  # torch, which --help need not wait for
    from serve.classifier import Classifier

ONNX, README = "model.onnx", "README.md"
CHECKED = 64  # images, unless there are fewer


def export(args: list[str]) -> None:
    """Write safetensors, JSON and README.md, and ONNX where it is asked for; nothing where its answers are others."""
    options = parse(args)
    from models.artifact import CARD, EXAMPLES, WEIGHTS
    from serve.classifier import Classifier

    if options.to.resolve() == options.model.resolve():
        raise UsageError(f"--to {options.to} is the model itself; choose another folder.")
    model = Classifier(options.model)
    onnx = checked_onnx(model, check_images(model, options.images)) if options.onnx else None
    # Without the test images, which may be private, and what is said of them.
    card = {name: value for name, value in model.card.items() if name != EXAMPLES}
    files = {
        WEIGHTS: (options.model / WEIGHTS).read_bytes(),
        CARD: json.dumps(card, indent=1).encode(),
        README: model_card(model.card, with_onnx=options.onnx).encode(),
        **({ONNX: onnx} if onnx is not None else {}),
    }
    with output("--to", options.to):
        options.to.mkdir(parents=True, exist_ok=True)
        if onnx is None:
            (options.to / ONNX).unlink(missing_ok=True)  # of other weights
        for name, content in files.items():
            replace_file(options.to / name, content)
    print(f"exported to {options.to}: {', '.join(sorted(files))}")


def parse(args: list[str]) -> argparse.Namespace:
    """The options of export."""
    parser = argparse.ArgumentParser(prog="python -m lightning_app export", description="A model for other runtimes.")
    parser.add_argument("--model", type=Path, required=True, help="the artifact: runs/<name>/<version>/model")
    parser.add_argument("--to", type=Path, required=True, help="folder to write")
    parser.add_argument("--onnx", action="store_true", help="also ONNX, checked against torch")
    parser.add_argument("--images", type=Path, help="to check ONNX with (default: the artifact's test images)")
    return parser.parse_args(args)


def check_images(model: Classifier, folder: Path | None) -> np.ndarray:
    """Real images, stored: uint8 [n, 3, S, S].

    Raises:
        DataError: there are none, or one cannot be read.
    """
    paths = [folder] if folder else [path for _, path in model.examples()]
    files = chain.from_iterable(contents(part_of(path)) for path in paths)
    found = [(path, decode(content, model.stored_size)) for path, content in islice(files, CHECKED)]
    for path, image in found:
        if isinstance(image, Exception):
            raise DataError(f"cannot check with {path} ({image}).")
    if not found:
        raise DataError("the artifact came without test images to check ONNX with; name some with --images.")
    return np.stack([image for _, image in found if isinstance(image, np.ndarray)])


def checked_onnx(model: Classifier, images: np.ndarray) -> bytes:
    """The pipeline as an ONNX file whose answers on these images are torch's.

    Raises:
        ModelError: they are not.
    """
    import torch

    from serve.onnx_pipeline import TOLERANCE, OnnxPipeline, largest_difference, onnx_bytes

    content = onnx_bytes(model.reference, model.stored_size)
    worst = largest_difference(OnnxPipeline(content, torch.get_num_threads()), model.reference, images)
    print(f"ONNX against torch on {len(images)} images: probabilities differ by {worst:.1e} at most")
    if not worst <= TOLERANCE:  # nor is NaN
        raise ModelError(f"the ONNX answers differ by {worst:.1e} from torch's, more than {TOLERANCE:g}; not written.")
    return content
