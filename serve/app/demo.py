"""What the page and the API do with a picture: one request after another, in a thread of its own."""

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
from serve.app.panels.answer import NOTHING_YET, answer_html, refusal_html
from serve.app.uploads.pictures import Limits, PictureError, read_picture
from serve.classifier import Classifier, Prediction
from serve.gradcam import gradcam, overlay

SHOWN = 3  # classes
OVERLAY_SIDE = 448  # pixels
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

    def judge(self, path: str) -> tuple[Prediction, float]:
        """The answer for a file, and how many milliseconds it took.

        Raises:
            PictureError: no picture that we take; the file is deleted.
        """
        started = time.perf_counter()
        stored = self.read(path)
        return self.classifier.prediction(stored), 1000 * (time.perf_counter() - started)

    def read(self, path: str) -> Any:
        """The stored image of an uploaded file."""
        try:
            return read_picture(Path(path), self.classifier.stored_size, self.limits)
        except PictureError:
            Path(path).unlink(missing_ok=True)
            raise

    async def show(self, path: str | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """For the page: prediction, the Grad-CAM button and an empty overlay."""
        hidden = gr.update(visible=False, value=None)
        if path is None:
            return NOTHING_YET, gr.update(interactive=False), hidden
        try:
            prediction, milliseconds = await self.in_turn(lambda: self.judge(path))
        except PictureError as error:
            return refusal_html(str(error)), gr.update(interactive=False), hidden
        html = answer_html(prediction, SHOWN, milliseconds, self.classifier.card.get("uncertain"))
        return html, gr.update(interactive=True), hidden

    async def classify(self, path: str | None) -> dict[str, Any]:
        """For programs: label, confidence, uncertain, probabilities, milliseconds."""
        if path is None:
            raise gr.Error("No picture was sent.", print_exception=False)
        try:
            prediction, milliseconds = await self.in_turn(lambda: self.judge(path))
        except PictureError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return {
            "label": prediction.label,
            "confidence": prediction.confidence,
            "uncertain": prediction.uncertain,
            "probabilities": prediction.probabilities,
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
        label = model.classes.index(model.prediction(stored).label)
        return overlay(stored, gradcam(model.trained, pixels, label), OVERLAY_SIDE)

    def example(self, event: gr.SelectData) -> Image.Image:
        """The picture of the example that was clicked."""
        with Image.open(self.classifier.examples()[event.index][1]) as image:
            return image.convert("RGB")
