"""The table of labels, as CSV or JSON Lines, which --resume can continue after an interruption."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, Union

from datamodules.sources.naming import displayable
from lightning_app.errors import UsageError
from serve.error_text import reason

if TYPE_CHECKING:  # torch, which would slow down --help
    from serve.classifier import Prediction

Answer = Union["Prediction", Exception]
Write = Callable[[str, Answer], None]
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a cell that a spreadsheet would run


def partial_of(path: Path) -> Path:
    """The file that contains the rows until the table is complete."""
    return path.with_name(f"{path.name}.partial")


def cell(text: str) -> str:
    """Text with an apostrophe before it if a spreadsheet would run it as a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(FORMULA) else text


def header(classes: list[str]) -> list[str]:
    return ["path", "label", "confidence", "uncertain", "error", *(f"p({name})" for name in classes)]


def csv_writer(file: TextIO, classes: list[str]) -> Write:
    """Columns: path, label, confidence, uncertain, error, and p(class) for each class."""
    writer = csv.writer(file)
    if file.tell() == 0:
        writer.writerow(header(classes))

    def write(path: str, answer: Answer) -> None:
        path = cell(displayable(path))
        if isinstance(answer, Exception):
            writer.writerow([path, "", "", "", cell(reason(answer)), *("" for _ in classes)])
            return
        uncertain = "" if answer.uncertain is None else str(answer.uncertain).lower()
        shares = [f"{answer.probabilities[name]:.6f}" for name in classes]
        writer.writerow([path, cell(answer.label), f"{answer.confidence:.6f}", uncertain, "", *shares])

    return write


def jsonl_writer(file: TextIO, classes: list[str]) -> Write:
    """One object per line: path, label, confidence, uncertain, error, probabilities by class."""

    def write(path: str, answer: Answer) -> None:
        row: dict[str, object] = dict.fromkeys(("path", "label", "confidence", "uncertain", "error", "probabilities"))
        row["path"] = displayable(path)
        if isinstance(answer, Exception):
            row["error"] = reason(answer)
        else:
            row |= {"label": answer.label, "confidence": answer.confidence, "uncertain": answer.uncertain}
            row["probabilities"] = {name: answer.probabilities[name] for name in classes}
        file.write(json.dumps(row) + "\n")

    return write


WRITERS = {".csv": csv_writer, ".jsonl": jsonl_writer}


def rows_done(partial: Path, paths: list[str]) -> tuple[list[str], int]:
    """Find the rows that an interrupted run has written, and remove an incomplete last one.

    Args:
        partial: the run's partial table.
        paths: of all images to label.

    Returns:
        The paths that are done, and the number of errors among them.

    Raises:
        UsageError: the file does not exist, or has rows of other inputs.
    """
    if not partial.exists():
        raise UsageError(f"--resume: there is no {partial}; leave out --resume to start.")
    content = partial.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    text = content.decode("utf-8", "replace")
    if partial.name.endswith(".csv.partial"):
        own = {cell(path): path for path in paths}
        rows = [(row[0], bool(row[4])) for row in list(csv.reader(io.StringIO(text, newline="")))[1:]]
    else:
        own = {path: path for path in paths}
        rows = [(row["path"], row["error"] is not None) for row in map(json.loads, text.splitlines())]
    if strange := [path for path, _ in rows if path not in own]:
        raise UsageError(
            f"--resume: {partial} has rows of other inputs ({strange[0]}); delete it, or name the same inputs again."
        )
    os.truncate(partial, len(content))
    return [own[path] for path, _ in rows], sum(failed for _, failed in rows)
