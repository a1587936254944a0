"""The web page: try the model in one tab, read what is known of it in the other."""

from __future__ import annotations

from typing import Any

import gradio as gr

from serve.app.demo import Demo
from serve.app.panels.answer import NOTHING_YET
from serve.app.panels.card import card_html, headline
from serve.app.uploads.picture_input import picture_input
from serve.classifier import Classifier

QUEUE = 64  # requests that may wait


def page(demo: Demo) -> gr.Blocks:
    """The whole page."""
    model = demo.classifier
    title = f"{model.card['backbone']}: what is it?"
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=False) as blocks:
        gr.HTML(headline(model.card))
        with gr.Tab("Try it"):
            try_it(demo)
        with gr.Tab("Model card"):
            gr.HTML(card_html(model.card))
    return blocks.queue(max_size=QUEUE, default_concurrency_limit=1, api_open=False)


def try_it(demo: Demo) -> None:
    """The first tab."""
    with gr.Row(equal_height=False, elem_classes="try-it"):
        with gr.Column(scale=5, min_width=300):
            picture = picture_input(
                label="Picture",
                sources=["upload", "webcam", "clipboard"],
                height=320,
                elem_id="picture",
                placeholder="Drop a picture here, or click to choose one",
                buttons=["fullscreen"],
            )
            gallery = examples_gallery(demo.classifier)
        with gr.Column(scale=4, min_width=300):
            prediction = gr.HTML(NOTHING_YET, elem_id="verdict")
            explain = gr.Button("Where did it look?", interactive=False, elem_id="explain")
            heat = gr.Image(
                label="Grad-CAM: bright places spoke for it",
                visible=False,
                interactive=False,
                format="png",
                elem_id="heat",
                buttons=["fullscreen"],
            )
    on_page: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    picture.change(demo.show, picture, [prediction, explain, heat], **on_page)
    explain.click(demo.explain, picture, heat, **on_page)
    if gallery is not None:
        gallery.select(demo.example, None, picture, **on_page)
    answer = gr.JSON(visible=False)
    gr.Button(visible=False).click(demo.classify, picture, answer, api_name="classify", concurrency_id="model")


def examples_gallery(model: Classifier) -> gr.Gallery | None:
    """Test images, hits first."""
    examples = model.examples()
    if not examples:
        return None
    return gr.Gallery(
        [(str(path), caption(entry)) for entry, path in examples],
        label="Test images that it was never trained on",
        columns=6,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        format="png",
        elem_id="examples",
        buttons=[],
    )


def caption(entry: dict[str, Any]) -> str:
    """What is below an example."""
    if entry["label"] == entry["predicted"]:
        return f"✓\N{NO-BREAK SPACE}{entry['label']}"
    return f"✗\N{NO-BREAK SPACE}{entry['label']}, taken for {entry['predicted']}"
