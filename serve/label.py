"""label: an artifact's answers for a folder, an archive or a list of files, as CSV or JSON lines."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, Union

import numpy as np
from tqdm import tqdm

from datamodules.errors import DataError
from datamodules.sources.decoding import decode_image
from datamodules.sources.files import ARCHIVES, Directory, Entry, Files, Load, names_an_archive, open_files
from datamodules.sources.naming import IMAGE_SUFFIXES, is_image
from lightning_app.errors import UsageError
from lightning_app.files import output, replacing
from serve.error_text import reason

if TYPE_CHECKING:  # torch, which --help need not wait for
    from serve.classifier import Classifier, Prediction

BATCH = 64
MANY = 2000  # images from which on going over to ONNX Runtime pays
UNREADABLE = 1  # exit code where a file could not be read; 2 is for wrong usage
Content = bytes | Exception
Answer = Union["Prediction", Exception]
Write = Callable[[str, Answer], None]


@dataclass(frozen=True)
class Part:
    """One thing that was named: a file, a folder or an archive.

    Attributes:
        files: where to read.
        images: what.
        prefix: before a name, it makes the path that is written.
    """

    files: Files
    images: list[Entry]
    prefix: str


def label(args: list[str]) -> None:
    """Label what was asked for; exits with 1 where a file could not be read."""
    options = parse(args)
    from serve.classifier import Classifier

    if options.to.suffix not in WRITERS:
        raise UsageError(f"--to {options.to} ends in none of {', '.join(WRITERS)}; the ending chooses the format.")
    if options.batch_size < 1:
        raise UsageError(f"--batch_size is {options.batch_size}; expected 1 or more.")
    parts = [part_of(path) for path in options.inputs]  # before the model: a wrong path should be told at once
    total, bad = sum(len(part.images) for part in parts), 0
    # Names of files need not be UTF-8: their bytes go into the table as they are.
    with (
        output("--to", options.to),
        replacing(options.to) as place,
        open(place, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        model = Classifier(options.model)
        if total >= MANY:
            model.accelerate()
        write = WRITERS[options.to.suffix](file, model.classes)
        labelled = answers(model, chain.from_iterable(map(contents, parts)), options.batch_size)
        for path, answer in tqdm(labelled, total=total, unit="image", disable=None, mininterval=0.5):
            bad += isinstance(answer, Exception)
            write(path, answer)
    print(f"{total - bad} of {total} labelled in {options.to}" + (f"; {bad} unreadable" if bad else ""))
    if bad:
        sys.exit(UNREADABLE)


def parse(args: list[str]) -> argparse.Namespace:
    """The options of label."""
    parser = argparse.ArgumentParser(prog="python -m lightning_app label", description="Answers of a trained model.")
    parser.add_argument("inputs", nargs="+", type=Path, help="images, folders, .zip or .tar(.gz) archives of them")
    parser.add_argument("--model", type=Path, required=True, help="the artifact: runs/<name>/<version>/model")
    parser.add_argument("--to", type=Path, default=Path("labels.csv"), help="a .csv or .jsonl (default: labels.csv)")
    parser.add_argument("--batch_size", type=int, default=BATCH, help=f"(default: {BATCH})")
    return parser.parse_args(args)


def part_of(path: Path) -> Part:
    """What is to be read below a path.

    Raises:
        DataError: nothing there, or a folder or archive without an image.
    """
    if not path.exists():
        raise DataError(f"there is no {path}; expected an image, a folder, or an archive of images ({ARCHIVES}).")
    if path.is_file() and not names_an_archive(path):
        return Part(Directory(path.parent), [Entry(path.name)], path.as_posix().removesuffix(path.name))
    files = open_files(path)
    images = [entry for entry in files.entries() if is_image(entry.name)]
    if not images:
        raise DataError(f"no images in {path}; expected files ending in {' '.join(IMAGE_SUFFIXES)}.")
    return Part(files, images, f"{path.as_posix()}/")


def contents(part: Part) -> Iterator[tuple[str, Content]]:
    """Path and bytes of every file; an error in place of those that cannot be had."""
    yield from ((part.prefix + entry.name, OSError(entry.problem)) for entry in part.images if entry.problem)
    left = {entry.name: None for entry in part.images if not entry.problem}
    try:
        for name, load in part.files.loads(list(left)):
            del left[name]
            yield part.prefix + name, content(load)
    except DataError as error:  # what lies behind the damage in a .tar cannot be reached
        yield from ((part.prefix + name, error) for name in left)


def content(load: Load) -> Content:
    """The bytes of a file, or why there are none."""
    try:
        return load()
    except Exception as error:  # of each kind of archive another
        return error


def answers(model: Classifier, files: Iterator[tuple[str, Content]], batch_size: int) -> Iterator[tuple[str, Answer]]:
    """Label files in batches; Pillow lets go of the interpreter lock while it decodes, so threads are enough."""
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(files, batch_size)):
            decoded = list(pool.map(lambda member: decode(member[1], model.stored_size), batch))
            images = [image for image in decoded if isinstance(image, np.ndarray)]
            predictions = iter(model.predictions(np.stack(images)) if images else [])
            for (path, _), image in zip(batch, decoded, strict=True):
                yield path, image if isinstance(image, Exception) else next(predictions)


def decode(content: Content, size: int) -> np.ndarray | Exception:
    """A stored image, or why there is none."""
    if isinstance(content, Exception):
        return content
    try:
        return decode_image(content, size)
    except Exception as error:  # Pillow's plugins raise anything for a broken file; it becomes a row of the table
        return error


def csv_writer(file: TextIO, classes: list[str]) -> Write:
    """Columns path, label, confidence, uncertain, error, and one for each class, as p(class)."""
    writer = csv.writer(file)
    writer.writerow(["path", "label", "confidence", "uncertain", "error", *(f"p({name})" for name in classes)])

    def write(path: str, answer: Answer) -> None:
        if isinstance(answer, Exception):
            writer.writerow([path, "", "", "", reason(answer), *("" for _ in classes)])
            return
        uncertain = "" if answer.uncertain is None else str(answer.uncertain).lower()
        shares = [f"{answer.probabilities[name]:.6f}" for name in classes]
        writer.writerow([path, answer.label, f"{answer.confidence:.6f}", uncertain, "", *shares])

    return write


def jsonl_writer(file: TextIO, classes: list[str]) -> Write:
    """One object a line: path, label, confidence, uncertain, error, probabilities."""

    def write(path: str, answer: Answer) -> None:
        row: dict[str, object] = {"path": path, "label": None, "confidence": None, "uncertain": None, "error": None}
        if isinstance(answer, Exception):
            row |= {"error": reason(answer), "probabilities": None}
        else:
            row |= {"label": answer.label, "confidence": answer.confidence, "uncertain": answer.uncertain}
            row |= {"probabilities": answer.probabilities}
        file.write(json.dumps(row) + "\n")

    return write


WRITERS = {".csv": csv_writer, ".jsonl": jsonl_writer}
