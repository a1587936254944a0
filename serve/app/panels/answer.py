"""The answer as HTML. Class names come from folder names, so everything is escaped."""

from __future__ import annotations

from html import escape
from typing import Any

from serve.classifier import Prediction

NOTHING_YET = '<div class="verdict waiting" role="status"><p class="hint">The answer will be here.</p></div>'


def answer_html(prediction: Prediction, shown: int, milliseconds: float, chosen: dict[str, Any] | None) -> str:
    """The likeliest class, whether that is certain, and the first few probabilities."""
    bars = "".join(bar_html(name, share) for name, share in prediction.ranked(shown))
    return (
        f'<div class="verdict" role="status"><p class="answer">{escape(prediction.label)}</p>'
        f"{chip_html(prediction, chosen)}<ol class='bars'>{bars}</ol>"
        f'<p class="time">{milliseconds:.1f} ms from file to answer</p></div>'
    )


def bar_html(name: str, share: float) -> str:
    """One class with its probability."""
    return (
        f'<li><span class="name">{escape(name)}</span><span class="share">{100 * share:.1f}%</span>'
        f'<span class="bar"><span style="width:{100 * share:.2f}%"></span></span></li>'
    )


def chip_html(prediction: Prediction, chosen: dict[str, Any] | None) -> str:
    """Certain or not, and what that means."""
    if prediction.uncertain is None or chosen is None:
        return ""
    if not prediction.uncertain:
        meaning = f"{100 * chosen['reached']:.1f}% of the validation images with such an answer were right"
        return f'<p class="chip sure"><b>confident</b> {meaning}</p>'
    return f'<p class="chip unsure"><b>uncertain</b> {why_uncertain(chosen)}</p>'


def why_uncertain(chosen: dict[str, Any]) -> str:
    """What is missing."""
    wanted = f"{100 * chosen['precision']:g}%"
    if chosen["threshold"] is None:
        return f"at no confidence were {wanted} of the validation images right"
    return f"below {100 * chosen['threshold']:.1f}%; from there on {wanted} of the validation images were right"


def refusal_html(message: str) -> str:
    """Why a picture was not taken."""
    return f'<div class="verdict refused" role="alert"><p class="answer">No answer</p><p>{escape(message)}</p></div>'
