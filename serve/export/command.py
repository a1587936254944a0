"""export: the model as files for other runtimes, with a model card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightning_app.errors import UsageError
from lightning_app.files import output, replace_file
from models.errors import ModelError
from serve.export.images import LabelledImages, check_images
from serve.export.model_card import model_card

if TYPE_CHECKING:  # torch, which would slow down --help
    from serve.classifier import Classifier

ONNX, INT8, PT2, README = "model.onnx", "model.int8.onnx", "model.pt2", "README.md"
MAX_LOSS = 1.0  # percentage points of accuracy


def export(args: list[str]) -> None:
    """Write safetensors, JSON, README.md and the requested formats; nothing if an exported file's answers differ."""
    options = parse(args)
    check(options)
    from models.artifact import CARD, EXAMPLES, WEIGHTS
    from serve.classifier import Classifier

    model = Classifier(options.model)
    runtimes = for_runtimes(model, options)
    # Without the entries of the test images, which may be private and are not exported.
    card = {name: value for name, value in model.card.items() if name != EXAMPLES}
    files = {
        WEIGHTS: (options.model / WEIGHTS).read_bytes(),
        CARD: json.dumps(card, indent=1).encode(),
        README: model_card(model.card, sorted(runtimes)).encode(),
        **runtimes,
    }
    with output("--to", options.to):
        options.to.mkdir(parents=True, exist_ok=True)
        for name in {ONNX, INT8, PT2} - runtimes.keys():
            (options.to / name).unlink(missing_ok=True)  # from an earlier export, of other weights
        for name, content in files.items():
            replace_file(options.to / name, content)
    print(f"exported to {options.to}: {', '.join(sorted(files))}")


def parse(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app export", description="Export a model for other runtimes."
    )
    parser.add_argument("--model", type=Path, required=True, help="the artifact: runs/<name>/<version>/model")
    parser.add_argument("--to", type=Path, required=True, help="folder to write to")
    parser.add_argument("--onnx", action="store_true", help="also write ONNX, compared with torch")
    parser.add_argument("--int8", action="store_true", help="also write int8 ONNX, calibrated and measured on --images")
    parser.add_argument("--pt2", action="store_true", help="also write torch.export's format, compared with torch")
    parser.add_argument(
        "--images",
        type=Path,
        help="images to compare with torch on (default: the artifact's test images); for --int8, the training data set",
    )
    parser.add_argument("--max_loss", type=float, default=MAX_LOSS, help="for int8, in points of accuracy (default: 1)")
    parser.add_argument("--force", action="store_true", help="write int8 whatever accuracy it loses")
    return parser.parse_args(args)


def check(options: argparse.Namespace) -> None:
    """Raise a UsageError for options that contradict each other."""
    if options.to.resolve() == options.model.resolve():
        raise UsageError(f"--to {options.to} is the model itself; choose another folder.")
    if options.int8 and options.images is None:
        raise UsageError(
            "--int8 needs --images: the data set, a folder or archive with train/, val/ and test/<class>/*."
        )


def for_runtimes(model: Classifier, options: argparse.Namespace) -> dict[str, bytes]:
    """The requested files for other runtimes, by name."""
    if not (options.onnx or options.int8 or options.pt2):
        return {}
    files: dict[str, bytes] = {}
    labelled = LabelledImages(options.images, model) if options.int8 else None
    images = labelled.to_calibrate(64) if labelled else check_images(model, options.images)
    if options.pt2:
        files[PT2] = checked_pt2(model, images)
    if options.onnx or options.int8:
        fp32 = checked_onnx(model, images)
        if options.onnx:
            files[ONNX] = with_metadata(fp32, model.card)
        if labelled:
            files[INT8] = with_metadata(checked_int8(fp32, labelled, options), model.card)
    return files


def checked_onnx(model: Classifier, images: np.ndarray) -> bytes:
    """The pipeline as an ONNX file, compared with torch on these images.

    Raises:
        ModelError: the answers differ.
    """
    import torch

    from serve.onnx_cache import cached_onnx_bytes
    from serve.onnx_export import OnnxPipeline, largest_difference

    content = cached_onnx_bytes(model.reference, model.stored_size)
    worst = largest_difference(OnnxPipeline(content, torch.get_num_threads()), model.reference, images)
    check_difference("ONNX", worst, len(images))
    return content


def checked_pt2(model: Classifier, images: np.ndarray) -> bytes:
    """The pipeline as torch.export's file, compared in the same way."""
    from serve.export.pt2 import load_pt2, pt2_bytes
    from serve.onnx_export import largest_difference

    content = pt2_bytes(model.reference, model.stored_size)
    check_difference("torch.export", largest_difference(load_pt2(content), model.reference, images), len(images))
    return content


def check_difference(what: str, worst: float, count: int) -> None:
    """Print the largest difference from torch; raise a ModelError if it is above the tolerance."""
    from serve.onnx_export import TOLERANCE

    print(f"{what} against torch on {count} images: probabilities differ by {worst:.1e} at most")
    if not worst <= TOLERANCE:  # NaN fails too
        raise ModelError(
            f"the {what} answers differ by {worst:.1e} from torch's, more than {TOLERANCE:g}; not written."
        )


def checked_int8(fp32: bytes, labelled: LabelledImages, options: argparse.Namespace) -> bytes:
    """The pipeline in int8, compared with fp32 on the test images.

    Raises:
        ModelError: it loses more accuracy than --max_loss.
    """
    import torch

    from serve.export.quantization import CALIBRATED, compare, quantized

    int8 = quantized(fp32, labelled.to_calibrate(CALIBRATED))
    comparison = compare(fp32, int8, labelled.to_measure(), torch.get_num_threads())
    print(comparison)
    if not comparison.loss <= options.max_loss and not options.force:
        raise ModelError(
            f"int8 loses {comparison.loss:.2f} points of accuracy, more than --max_loss {options.max_loss:g}; "
            "not written. --force writes it anyway."
        )
    return int8


def with_metadata(content: bytes, card: dict) -> bytes:
    """Add classes, sizes and the card to an ONNX file, as JSON in its metadata_props."""
    import onnx

    model = onnx.load_from_string(content)
    known = {"classes": card["classes"], "stored_size": card["stored_size"], "input_size": card["input_size"]}
    said = {name: value for name, value in card.items() if name not in ("examples", "curves")}
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in {**known, "card": said}.items()})
    return model.SerializeToString()
