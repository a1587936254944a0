"""The card's and the answer's words, and that what comes from an artifact is text and nothing else."""

from __future__ import annotations

import re
from typing import Any

from small_artifact import CLASSES, card

from serve.app.panels.answer import answer_html
from serve.app.panels.card import card_html, headline, title
from serve.app.panels.training_curves import curves_svg
from serve.classifier import Prediction

THRESHOLD = {"precision": 0.95, "threshold": 0.767, "reached": 0.98, "passing": 50, "images": 100}


def text(html: str) -> str:
    """What a visitor reads."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_a_run_that_validated_once_gets_no_plot_of_one_point() -> None:
    loss = {"train/loss": [(1, 2.0), (9, 1.0)]}
    assert curves_svg(loss | {"val/acc": [(9, 0.5)]}).count("<svg") == 1
    assert curves_svg(loss | {"val/acc": [(5, 0.4), (9, 0.5)]}).count("<svg") == 2


def test_the_legend_names_the_curves_that_are_drawn() -> None:
    svg = curves_svg({"train/loss": [(1, 2.0), (9, 1.0)], "val/loss": [(9, 1.5)]})
    assert [name in svg for name in ("─ train/loss", "● val/loss", "test/loss")] == [True, True, False]


def test_the_date_is_one_for_people_and_what_is_unknown_is_left_out() -> None:
    html = card_html(card(provenance={"git": None, "date": "2026-11-25T00:20:46+00:00"}), 2_230_277)
    assert "date 2026-11-25 00:20:46 UTC" in text(html)
    assert ">git<" not in html
    assert "parameters 2,230,277 (8.9 MB in fp32)" in text(html)
    assert "licence not stated" in text(html)


def test_the_headline_says_what_it_is() -> None:
    counts = [[8, 2, 0], [1, 9, 0], [0, 4, 6]]
    known = card(classes=["ant", "bee", "cat"], confusion={"test": counts}, provenance={"data": "toys-0123"})
    assert title(known) == "toys image classifier"
    said = text(headline(known))
    assert "Tells ant, bee and cat apart. Accuracy on 30 test images: 76.67%." in said
    assert "backbone" not in said


def test_the_matrix_has_true_classes_as_rows() -> None:
    counts = [[8, 2, 0], [1, 9, 0], [0, 4, 6]]
    html = card_html(card(classes=["ant", "bee", "cat"], confusion={"test": counts}))
    rows = re.findall(r'<th scope="row" title="(\w+)">.*?</th>(.*?)</tr>', html)
    found = {name: [int(cell or 0) for cell in re.findall(r"<td[^>]*>(\d*)</td>", cells)] for name, cells in rows}
    assert found == {"ant": [8, 2, 0], "bee": [1, 9, 0], "cat": [0, 4, 6]}
    assert 'title="4 of 10 cat predicted as bee"' in html


def test_of_many_classes_the_most_frequent_confusions_are_listed_as_true_and_predicted() -> None:
    names = [f"class {number:02}" for number in range(31)]
    counts = [[9 if row == column else 0 for column in range(31)] for row in range(31)]
    counts[3][7], counts[7][3] = 5, 2
    said = text(card_html(card(classes=names, confusion={"val": counts})))
    assert "class 03, predicted as class 07 5 class 07, predicted as class 03 2" in said
    assert "Most frequent confusions (validation images)" in said


def test_the_accuracy_of_each_class_is_shown_and_that_of_none_left_out() -> None:
    per_class = {"test": {"ant": 0.8, "bee": float("nan"), "cat": 0.6}, "val": {"ant": 0.1, "bee": 0.2, "cat": 0.3}}
    said = text(card_html(card(classes=["ant", "bee", "cat"], confusion={}, per_class_accuracy=per_class)))
    assert "Accuracy by class (test images) ant 80.0% cat 60.0%" in said


def answer(probability: float, uncertain: bool | None, chosen: dict[str, Any] | None) -> str:
    found = Prediction({"dog": 1 - probability, "cat": probability}, uncertain)
    return text(answer_html(found, 12.3, card(uncertain=chosen)))


def test_the_answer_says_how_far_to_trust_it() -> None:
    assert "Uncertain: only 68% sure; this model is reliable above 77%." in answer(0.68, True, THRESHOLD)
    assert "Confident: 91% sure; 98% of such answers on validation images were correct." in answer(
        0.91, False, THRESHOLD
    )
    never = answer(0.91, True, THRESHOLD | {"threshold": None})
    assert "Uncertain: 91% sure, but no confidence threshold of this model reached an accuracy of 95%." in never
    assert "sure" not in answer(0.91, None, None)
    assert answer(0.68, True, THRESHOLD).startswith("cat ")
    assert "cat 68.0% dog 32.0%" in answer(0.68, True, THRESHOLD)


def test_names_are_text_and_cannot_turn_what_is_around_them() -> None:
    names = ["<script>alert(1)</script>", "\u202egnp.exe", "c"]
    html = card_html(card(classes=names, confusion={"test": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}))
    html += headline(card(classes=names, confusion={}))
    html += answer_html(Prediction(dict.fromkeys(names, 0.3), None), 1.0, card())
    assert "<script" not in html
    assert html.count("<bdi>\u202egnp.exe</bdi>") == 3  # column, row, bar: <bdi> keeps a mark of direction inside
    assert CLASSES
