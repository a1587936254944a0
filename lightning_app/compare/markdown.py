"""report.md: for a terminal, a pull request, a paper's appendix."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_app.compare.tables import Findings, Table, provenance, rules, tables
from lightning_app.compare.words import NONE


def markdown(found: Findings) -> str:
    """The whole report."""
    parts = ["# Comparison", *(section(table) for table in tables(found))]
    parts += ["## How it was measured", bullets(rules(found)), "## Provenance"]
    parts.append("\n".join(f"- {name + ': ' if name else ''}{value}" for name, value in provenance(found)))
    return "\n\n".join(parts) + "\n"


def section(table: Table) -> str:
    """A table under its title, without columns that say nothing."""
    full = [list(row) for row in table.body if len(row) == len(table.head)]
    kept = [index for index in range(len(table.head)) if any(row[index] != NONE for row in full)]
    lines = [line([table.head[index] for index in kept]), line(["---"] * len(kept))]
    for row in table.body:
        short = len(row) < len(table.head)
        lines.append(line([*row, *[""] * (len(kept) - len(row))] if short else [row[index] for index in kept]))
    return "\n\n".join([f"## {table.title}", "\n".join(lines), *table.notes])


def line(cells: Sequence[str]) -> str:
    """A row; cells must not hold what parts them."""
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {each}" for each in lines)
