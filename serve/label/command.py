"""label: an artifact's predictions for folders, archives and files, as CSV or JSON Lines."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice, takewhile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

import numpy as np
from tqdm import tqdm

from datamodules.sources.decoding import decode_image
from lightning_app.errors import UsageError
from lightning_app.files import output
from models.errors import ModelError
from serve.label.inputs import Content, Part, contents, left_out, parts_of, paths_of, without
from serve.label.table import WRITERS, Answer, partial_of, rows_done

if TYPE_CHECKING:  # torch, which would slow down --help
    from serve.classifier import Classifier

BATCH = 64
MANY = 2000  # from this many images, exporting to ONNX Runtime pays off
UNREADABLE = 1  # exit code if a file could not be read; 2 is for wrong usage


def label(args: list[str]) -> None:
    """Run the command.

    Exits with 1 if a file could not be read, and with 128 + the signal's number if a signal stopped it; the
    partial table then stays, for --resume.
    """
    options = parse(args)
    check(options)
    parts = parts_of(options.inputs)
    paths = paths_of(parts)
    before, bad = rows_done(partial_of(options.to), paths) if options.resume else ([], 0)
    done = len(before)
    with output("--to", options.to), stop_requests() as stopped, partial_table(options) as file:
        for answer in write_rows(options, file, without(parts, before), len(paths) - done, stopped):
            done, bad = done + 1, bad + isinstance(answer, Exception)
    if done < len(paths):
        print(f"stopped: {done} of {len(paths)} rows are in {partial_of(options.to)}; --resume continues")
        sys.exit(128 + stopped[0])
    with output("--to", options.to):
        os.replace(partial_of(options.to), options.to)
    print(f"{len(paths) - bad} of {len(paths)} labelled in {options.to}" + (f"; {bad} unreadable" if bad else ""))
    if said := left_out(parts):
        print(said, file=sys.stderr)
    if bad:
        sys.exit(UNREADABLE)


def parse(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app label", description="Write a trained model's predictions for images to a table."
    )
    parser.add_argument("inputs", nargs="+", help="images, folders, .zip or .tar(.gz) archives, .txt with paths, or -")
    parser.add_argument("--model", type=Path, required=True, help="the artifact: runs/<name>/<version>/model")
    parser.add_argument("--to", type=Path, default=Path("labels.csv"), help=".csv or .jsonl file (default: labels.csv)")
    parser.add_argument("--batch_size", type=int, default=BATCH, help=f"images per batch (default: {BATCH})")
    parser.add_argument("--force", action="store_true", help="overwrite an existing table")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    return parser.parse_args(args)


def check(options: argparse.Namespace) -> None:
    """Raise an error for wrong options, before anything slow starts."""
    if options.to.suffix not in WRITERS:
        raise UsageError(f"--to {options.to} has an unknown suffix; expected {' or '.join(WRITERS)}.")
    if options.batch_size < 1:
        raise UsageError(f"--batch_size is {options.batch_size}; expected 1 or more.")
    if options.to.exists() and not options.force:
        raise UsageError(f"--to {options.to} already exists; --force overwrites it.")
    if partial_of(options.to).exists() and not (options.force or options.resume):
        raise UsageError(
            f"{partial_of(options.to)} is from an interrupted run; --resume continues it, --force starts again."
        )
    if not options.to.parent.is_dir():
        raise UsageError(f"--to {options.to} cannot be written (No such file or directory); choose another.")
    if not options.model.exists():
        raise ModelError(f"no model artifact at {options.model}; expected a folder with model.json: runs/.../model.")


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect the signals that ask to stop (Ctrl-C, SIGTERM); a second one kills the program."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def partial_table(options: argparse.Namespace) -> Iterator[TextIO]:
    """Open the partial table; an error deletes it, unless it continues an earlier run."""
    partial = partial_of(options.to)
    try:
        with open(partial, "a" if options.resume else "w", newline="", encoding="utf-8") as file:
            yield file
    except BaseException:
        if not options.resume:
            partial.unlink(missing_ok=True)
        raise


def write_rows(
    options: argparse.Namespace, file: TextIO, parts: list[Part], total: int, stopped: list[int]
) -> Iterator[Answer]:
    """Write a row for each file and yield its answer, until all are done or a signal arrives."""
    from serve.classifier import Classifier

    model = Classifier(options.model)
    if total >= MANY:
        model.accelerate()
    write = WRITERS[options.to.suffix](file, model.classes)
    batches = predictions(model, chain.from_iterable(map(contents, parts)), options.batch_size)
    with tqdm(total=total, unit="image", disable=None, mininterval=0.5) as progress:
        for batch in takewhile(lambda _: not stopped, batches):
            for path, answer in batch:
                write(path, answer)
                yield answer
            file.flush()
            progress.update(len(batch))


def predictions(
    model: Classifier, files: Iterator[tuple[str, Content]], batch_size: int
) -> Iterator[list[tuple[str, Answer]]]:
    """Predict in batches; threads decode in parallel, because Pillow releases the GIL."""
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(files, batch_size)):
            decoded = list(pool.map(lambda member: decode(member[1], model.stored_size), batch))
            images = [image for image in decoded if isinstance(image, np.ndarray)]
            found = iter(model.predictions(np.stack(images)) if images else [])
            yield [
                (path, image if isinstance(image, Exception) else next(found))
                for (path, _), image in zip(batch, decoded, strict=True)
            ]


def decode(content: Content, size: int) -> np.ndarray | Exception:
    """A stored image, uint8 [3, S, S], or the error that prevents it."""
    if isinstance(content, Exception):
        return content
    try:
        return decode_image(content, size)
    except Exception as error:  # Pillow's plugins raise anything for a broken file; it becomes a row of the table
        return error
