"""metrics.csv: one row per step, continued where an earlier attempt stopped, whatever happens to the disk."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning_app.files import replace_file

log = logging.getLogger(__name__)
FIRST_COLUMNS = ["epoch", "step"]
Row = dict[str, float | str]


class MetricsTable:
    """Rows of metrics. All logs of one step share a row, so the last row changes until a later step starts.

    A table that another attempt started is kept up to `first_step`, in one rename; a line that a kill truncated is
    dropped. A table with other damage is first copied to metrics.csv.damaged-<time>.

    Args:
        path: of the file.
        first_step: rows of this step and later ones are dropped, because they will be logged again.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        self.path = path
        self._rows: list[Row] = []  # not on disk yet; also the last row that is, because it may change
        self._end = 0  # bytes of the file before those rows
        self._warned = self._changed = False
        keep_damaged(path)
        kept = [row for row in read_rows(path) if int(row["step"]) < first_step]
        self._columns = list(kept[0]) if kept else []
        if kept:  # in one rename: a process that is killed here should not take them along
            self._replace(kept)
        else:
            path.unlink(missing_ok=True)

    def add(self, metrics: Mapping[str, float], epoch: int, step: int) -> None:
        """Record metrics of a step, in memory."""
        if not self._rows or self._rows[-1]["step"] != step:
            self._rows.append({"epoch": epoch, "step": step})
        self._rows[-1].update(metrics)
        self._changed = True

    def write(self) -> None:
        """Bring the file up to date. If that fails, warn once and keep the rows for the next call."""
        if not self._changed:
            return
        try:
            columns = ordered(self._columns, self._rows)
            if columns != self._columns or not self.path.exists():
                self._columns, before = columns, self._columns
                try:
                    self._replace(self._kept())
                except OSError:
                    self._columns = before  # those of the file
                    raise
            self._write_rows()
            self._changed = self._warned = False
        except OSError as error:
            if not self._warned:
                log.warning(f"{self.path} cannot be written ({error.strerror}); its rows are kept for later")
            self._warned = True

    def _kept(self) -> list[dict[str, str]]:
        """The rows of the file that can no longer change."""
        return parse_rows(self.path.read_bytes()[: self._end]) if self.path.exists() else []

    def _replace(self, rows: Iterable[Mapping[str, object]]) -> None:
        content = as_csv(self._columns, rows, header=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, content)
        self._end = len(content)

    def _write_rows(self) -> None:
        *final, last = (as_csv(self._columns, [row]) for row in self._rows)
        with open(self.path, "r+b") as file:
            file.seek(self._end)
            file.write(b"".join([*final, last]))
            file.truncate()
        self._end += sum(map(len, final))
        del self._rows[:-1]


def ordered(columns: list[str], rows: Iterable[Row]) -> list[str]:
    """Columns of a table that holds these rows too: epoch and step, then the others by name."""
    names = {*columns, *(name for row in rows for name in row)}
    return [*FIRST_COLUMNS, *sorted(names - {*FIRST_COLUMNS})]


def as_csv(columns: list[str], rows: Iterable[Mapping[str, object]], header: bool = False) -> bytes:
    """Rows as lines of CSV; a missing column is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The undamaged rows of a table: a step, and a number or nothing in each other column."""
    return parse_rows(path.read_bytes()) if path.exists() else []


def parse_rows(content: bytes) -> list[dict[str, str]]:
    """As read_rows(), for a file's content."""
    columns, *rows = [fields(line) for line in complete_lines(content)] or [[]]
    found = [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]
    return [row for row in found if row.get("step", "").isdecimal() and all(map(is_number, filter(None, row.values())))]


def keep_damaged(path: Path) -> None:
    """Copy a table aside if it has lost lines other than the last."""
    content = path.read_bytes() if path.exists() else b""
    lost = len(complete_lines(content)[1:]) - len(parse_rows(content))
    if lost:
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        replace_file(aside, content)
        log.warning(f"{path} is damaged: {lost} of its lines are left out; the original file is now {aside.name}")


def complete_lines(content: bytes) -> list[str]:
    """The lines of a text, including damaged bytes, without a truncated last line."""
    return [line for line in content.decode(errors="replace").split("\n")[:-1] if line]


def fields(line: str) -> list[str]:
    """Parse one line of a table separately, so that a stray quotation mark breaks no other line. Empty if invalid."""
    try:
        return next(csv.reader([line]))
    except csv.Error:  # a zero byte, before Python 3.11
        return []


def is_number(text: str) -> bool:
    """Whether float() accepts it: nan and inf too."""
    try:
        float(text)
    except ValueError:
        return False
    return True
