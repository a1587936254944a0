"""The web page."""

from __future__ import annotations

import os

# Before gradio is imported: no call to the outside.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from serve.classifier import Classifier


def page(classifier: Classifier) -> gr.Interface:
    """One picture in, the three likeliest classes out."""
    accuracy = classifier.card["metrics"].get("test/acc")
    measured = f", {100 * accuracy:.1f}% of the test images right" if accuracy is not None else ""
    return gr.Interface(
        classifier.probabilities,
        gr.Image(type="pil", label="picture"),
        gr.Label(num_top_classes=3, label="class"),
        title="What is it?",
        description=f"{classifier.card['backbone']} trained on {', '.join(classifier.classes)}{measured}.",
        flagging_mode="never",
    )
