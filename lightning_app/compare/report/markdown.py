"""report.md: for a terminal, a pull request, a paper's appendix."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_app.compare.report.tables import Findings, Table, provenance, rules, tables


def markdown(found: Findings) -> str:
    """The whole report."""
    parts = [f"# {found.title}", *(section(table) for table in tables(found))]
    parts += ["## How it was measured", bullets(rules(found)), "## Provenance"]
    parts.append("\n".join(f"- {name + ': ' if name else ''}{value}" for name, value in provenance(found)))
    return "\n\n".join(parts) + "\n"


def section(table: Table) -> str:
    """A table under its title."""
    lines = [line(table.head), line(["---"] * len(table.head))]
    lines += [line([*row, *[""] * (len(table.head) - len(row))]) for row in table.body]
    return "\n\n".join([f"## {table.title}", "\n".join(lines), *table.notes])


def line(cells: Sequence[str]) -> str:
    """A row; cells must not hold what parts them."""
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {each}" for each in lines)
