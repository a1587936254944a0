"""report.md: for a terminal, a pull request, a paper's appendix."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lightning_app.compare.report.answer import answer, caveats
from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.contents import tables
from lightning_app.compare.report.method import method, provenance
from lightning_app.compare.report.tables.table import Table


def render_markdown(comparison: Comparison) -> str:
    facts = [f"{name}: {value}" if name else value for name, value in provenance(comparison)]
    command = shlex.join(comparison.content["command"])
    parts = [f"# {comparison.title}", f"**{answer(comparison)}**", bullets(caveats(comparison))]
    parts += [section(table) for table in tables(comparison)]
    parts += ["## How it was measured", bullets(method(comparison))]
    parts += ["## Provenance", bullets([*facts, f"to repeat it: {command}"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(table: Table) -> str:
    lines = [line(table.head), line(["---"] * len(table.head))]
    lines += [line([*row, *[""] * (len(table.head) - len(row))]) for row in table.body]
    return "\n\n".join([f"## {table.title}", "\n".join(lines), *table.notes])


def line(cells: Sequence[str]) -> str:
    """A row; cell and row separators inside it are replaced."""
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {each}" for each in lines)
