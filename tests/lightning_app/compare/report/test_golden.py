"""A report of an invented comparison, word for word: the diff of golden/ shows the effect of a change.

The numbers in it follow from invented_comparison.py; tests/lightning_app/compare/analysis works them out by hand.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from invented_comparison import everything

from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.contents import figures
from lightning_app.compare.report.markdown import render_markdown

GOLDEN = Path(__file__).parent / "golden"


def figure_texts(comparison: Comparison) -> str:
    """Title, caption and every text of each figure."""
    parts = []
    for figure in figures(comparison):
        texts = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", figure.svg)]
        parts.append("\n".join([f"# {figure.title}", figure.caption, *texts, ""]))
    return "\n".join(parts)


@pytest.mark.parametrize(("name", "render"), [("report.md", render_markdown), ("figures.txt", figure_texts)])
def test_the_report_is_the_golden_one(name: str, render: Callable[[Comparison], str], tmp_path: Path) -> None:
    found = render(Comparison.of(everything(), original_table=True))
    (tmp_path / name).write_text(found, encoding="utf-8")
    golden = GOLDEN / name
    assert found == golden.read_text(encoding="utf-8"), f"if it is right: cp '{tmp_path / name}' '{golden}'"
