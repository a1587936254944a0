"""The web page: one tab to try the model, one for its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from serve.app.demo import SMALLEST_MAP, Demo
from serve.app.panels.answer import NOTHING_YET
from serve.app.panels.card import card_html, headline, title
from serve.app.panels.templates import render
from serve.app.uploads.limits import Limits
from serve.app.uploads.picture_input import ONLY_UPLOADS, is_upload, picture_input
from serve.app.uploads.pictures import FORMATS
from serve.classifier import Classifier

QUEUE = 512  # how many events Gradio may hold; our own queues refuse earlier
SCRIPT = Path(__file__).with_name("page.js")


def page(demo: Demo, downloads: Sequence[tuple[str, str]] = ()) -> gr.Blocks:
    """The page, with both tabs.

    Args:
        demo: answers.
        downloads: names and descriptions of the files that the card offers.
    """
    card = demo.classifier.card
    parameters = sum(each.numel() for each in demo.classifier.trained.parameters())
    with gr.Blocks(title=title(card), analytics_enabled=False, fill_width=False) as blocks:
        gr.HTML(headline(card))
        with gr.Tab("Try it"):
            try_it(demo)
        with gr.Tab("Model card"):
            gr.HTML(card_html(card, parameters, downloads))
    tell_what_is_missing(blocks)
    return blocks.queue(max_size=QUEUE, default_concurrency_limit=None, api_open=False)


def tell_what_is_missing(blocks: gr.Blocks) -> None:
    """Send an error to a client whose inputs are missing or no upload; Gradio would only log a traceback."""
    check_count = blocks.validate_inputs

    def validate_inputs(block_fn: Any, inputs: list[Any]) -> None:
        try:
            check_count(block_fn, inputs)
        except ValueError as error:
            raise gr.Error(" ".join(str(error).split()), print_exception=False) from None
        pairs = zip(block_fn.inputs, inputs, strict=False)
        if any(isinstance(block, gr.Image) and not is_upload(sent) for block, sent in pairs):
            raise gr.Error(ONLY_UPLOADS, print_exception=False)

    setattr(blocks, "validate_inputs", validate_inputs)  # noqa: B010  # of this page only


def script(limits: Limits) -> str:
    """The page's own script, as HTML for its head."""
    code = SCRIPT.read_text()
    for name, value in (
        ("MAX_BYTES", str(limits.bytes)),
        ("MAX_TEXT", f"{limits.megabytes:g}"),
        ("ACCEPTED", ",".join(f"image/{kind.lower()}" for kind in FORMATS)),
    ):
        code = code.replace(f"%{name}%", value)
    return f"<script>{code}</script>"


def try_it(demo: Demo) -> None:
    """The tab with picture, answer and Grad-CAM."""
    with gr.Row(equal_height=False, elem_classes="try-it"):
        with gr.Column(scale=5, min_width=300):
            picture = picture_input(
                label="Picture",
                sources=["upload", "webcam", "clipboard"],
                height=320,
                elem_id="picture",
                placeholder="Drop a picture here, paste one with Ctrl+V, or click to choose one",
                buttons=["fullscreen"],
            )
            gr.HTML('<p role="alert"></p>', elem_id="notice")
            gallery = examples_gallery(demo.classifier)
        with gr.Column(scale=4, min_width=300):
            answer = gr.HTML(NOTHING_YET, elem_id="verdict")
            with gr.Row(elem_id="actions"):
                explain = gr.Button("Where did it look?", interactive=False, elem_id="explain")
                clear = gr.Button("Clear", elem_id="clear")
            gr.HTML(legend(demo), elem_id="legend")
            heat = gr.Image(
                label="Grad-CAM",
                visible=False,
                interactive=False,
                format="png",
                elem_id="heat",
                buttons=["fullscreen"],
            )
    on_page: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    picture.change(demo.show, picture, [answer, explain, heat], **on_page)
    explain.click(demo.show_explanation, picture, heat, **on_page)
    clear.click(lambda: None, None, picture, **on_page)
    if gallery is not None:
        gallery.select(demo.example, None, picture, **on_page)
    found = gr.JSON(visible=False)
    gr.Button(visible=False).click(demo.classify, picture, found, api_name="classify")


def legend(demo: Demo) -> str:
    """HTML that says what the map means, or why there is none."""
    size, cells = demo.classifier.card["input_size"], demo.map_size
    return render("legend.html", cells=cells, size=size, offered=cells >= SMALLEST_MAP)


def examples_gallery(model: Classifier) -> gr.Gallery | None:
    """The artifact's test images, as a gallery to click."""
    examples = model.examples()
    if not examples:
        return None
    return gr.Gallery(
        [(str(path), caption(entry)) for entry, path in examples],
        label="Test images, never used in training",
        columns=6,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        format="png",
        elem_id="examples",
        buttons=[],
    )


def caption(entry: dict[str, Any]) -> str:
    if entry["label"] == entry["predicted"]:
        return f"✓\N{NO-BREAK SPACE}{entry['label']}"
    return f"✗\N{NO-BREAK SPACE}{entry['label']}, predicted as {entry['predicted']}"
