"""The answer as HTML, for visitors."""

from __future__ import annotations

from typing import Any

from serve.app.panels.templates import render
from serve.classifier import Prediction

SHOWN = 3  # classes
NOTHING_YET = (
    '<div class="verdict waiting" role="status"><p class="hint">Choose a picture: the answer appears here.</p></div>'
)


def answer_html(prediction: Prediction, milliseconds: float, card: dict[str, Any]) -> str:
    """The most likely class, whether it is uncertain, and the highest probabilities."""
    chip = how_sure(prediction, card.get("uncertain"))
    ranked = prediction.ranked(SHOWN)
    return render("answer.html", prediction=prediction, chip=chip, ranked=ranked, milliseconds=milliseconds)


def how_sure(prediction: Prediction, chosen: dict[str, Any] | None) -> str:
    """A sentence that compares this prediction with the threshold; empty without one."""
    if prediction.uncertain is None or chosen is None:
        return ""
    sure = f"{100 * prediction.confidence:.0f}% sure"
    wanted = f"{100 * chosen['precision']:g}%"
    if chosen["threshold"] is None:
        return f"Uncertain: {sure}, but no confidence threshold of this model reached an accuracy of {wanted}."
    if prediction.uncertain:
        return f"Uncertain: only {sure}; this model is reliable above {100 * chosen['threshold']:.0f}%."
    reached = chosen.get("reached") or chosen["precision"]
    return f"Confident: {sure}; {100 * reached:.0f}% of such answers on validation images were correct."


def refusal_html(message: str) -> str:
    """Why a picture was not accepted."""
    return render("refusal.html", message=message)
