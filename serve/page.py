"""The web page: try the model in one tab, read what is known of it in the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import torch
from PIL import Image

from datamodules.geometry import resample
from models.errors import ModelError
from serve.card_page import card_html, headline
from serve.classifier import Classifier, Verdict
from serve.gradcam import gradcam, overlay
from serve.picture_input import picture_input
from serve.pictures import Limits, PictureError, read_picture
from serve.verdict_page import NOTHING_YET, refusal_html, verdict_html

SHOWN = 3  # classes
OVERLAY_SIDE = 448  # pixels
QUEUE = 64  # requests that may wait
T = TypeVar("T")


class Demo:
    """What the page does, one request after the other in a thread of its own: so the number of threads is bounded.

    Args:
        classifier: the model.
        limits: on uploads.
    """

    def __init__(self, classifier: Classifier, limits: Limits) -> None:
        self.classifier, self.limits = classifier, limits
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Do it in the worker."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, work)

    def judge(self, path: str) -> tuple[Verdict, float]:
        """The answer for a file, and how many milliseconds it took.

        Raises:
            PictureError: no picture that we take; the file is deleted.
        """
        started = time.perf_counter()
        stored = self.read(path)
        return self.classifier.verdict(stored), 1000 * (time.perf_counter() - started)

    def read(self, path: str) -> Any:
        """The stored image of an uploaded file."""
        try:
            return read_picture(Path(path), self.classifier.stored_size, self.limits)
        except PictureError:
            Path(path).unlink(missing_ok=True)
            raise

    async def show(self, path: str | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """For the page: verdict, the Grad-CAM button and an empty overlay."""
        hidden = gr.update(visible=False, value=None)
        if path is None:
            return NOTHING_YET, gr.update(interactive=False), hidden
        try:
            verdict, milliseconds = await self.in_turn(lambda: self.judge(path))
        except PictureError as error:
            return refusal_html(str(error)), gr.update(interactive=False), hidden
        html = verdict_html(verdict, SHOWN, milliseconds, self.classifier.card.get("uncertain"))
        return html, gr.update(interactive=True), hidden

    async def classify(self, path: str | None) -> dict[str, Any]:
        """For programs: label, confidence, uncertain, probabilities, milliseconds."""
        if path is None:
            raise gr.Error("No picture was sent.", print_exception=False)
        try:
            verdict, milliseconds = await self.in_turn(lambda: self.judge(path))
        except PictureError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return {
            "label": verdict.label,
            "confidence": verdict.confidence,
            "uncertain": verdict.uncertain,
            "probabilities": verdict.probabilities,
            "milliseconds": round(milliseconds, 2),
        }

    async def explain(self, path: str | None) -> dict[str, Any]:
        """The Grad-CAM overlay for the answer."""
        if path is None:
            raise gr.Error("Choose a picture first.", print_exception=False)
        try:
            return gr.update(value=await self.in_turn(lambda: self.look(path)), visible=True)
        except (PictureError, ModelError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    def look(self, path: str) -> Image.Image:
        """The picture as the network saw it, with what spoke for its answer."""
        stored, model = self.read(path), self.classifier
        pixels = resample(torch.from_numpy(stored.copy())[None].float() / 255, model.card["input_size"])
        label = model.classes.index(model.verdict(stored).label)
        return overlay(stored, gradcam(model.trained, pixels, label), OVERLAY_SIDE)

    def example(self, event: gr.SelectData) -> Image.Image:
        """The picture of the example that was clicked."""
        with Image.open(self.classifier.examples()[event.index][1]) as image:
            return image.convert("RGB")


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
            verdict = gr.HTML(NOTHING_YET, elem_id="verdict")
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
    picture.change(demo.show, picture, [verdict, explain, heat], **on_page)
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
