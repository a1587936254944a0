"""A table of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightning_app.compare.report.formatting import NONE


@dataclass(frozen=True)
class Table:
    """A table and its notes.

    Attributes:
        title: of its section.
        head: names of the columns.
        body: the rows; a row of two cells is a mode and the reason why it has no figures.
        notes: sentences below it.
        first: it comes before the figures.
    """

    title: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    first: bool = False

    def compact(self) -> Table:
        """Without its empty columns."""
        full = [row for row in self.body if len(row) == len(self.head)]
        kept = [index for index in range(len(self.head)) if any(row[index] != NONE for row in full)]
        head = [self.head[index] for index in kept]
        body = [[row[index] for index in kept] if len(row) == len(self.head) else row for row in self.body]
        return replace(self, head=head, body=body)
