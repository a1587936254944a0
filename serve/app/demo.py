"""Answers for the page and the API: clients take turns, and large pictures have a queue of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import numpy as np
from PIL import Image

from serve.app.fair_queue import Busy, FairQueue, one_thread
from serve.app.panels.answer import NOTHING_YET, answer_html, refusal_html
from serve.app.uploads.decoder import decoder_process, timed
from serve.app.uploads.limits import Limits
from serve.app.uploads.pictures import PictureError, check_header, decode, decode_whole, read_upload
from serve.classifier import Classifier, Prediction
from serve.gradcam import LARGEST, explanation, map_size

T = TypeVar("T")
SMALLEST_MAP = 4  # cells a side: a coarser map does not show where the network looked
LARGE = 2e6  # pixels to decode; a picture with more waits in the queue for large ones


class Demo:
    """Answers for one model.

    It has two queues, so that a huge picture delays only other huge ones: one for a thread that runs the network and
    decodes small pictures, one for a process that decodes large pictures.

    Args:
        classifier: the model.
        limits: on uploads.
    """

    def __init__(self, classifier: Classifier, limits: Limits) -> None:
        self.classifier, self.limits = classifier, limits
        self.map_size = map_size(classifier.trained, classifier.card["input_size"])
        self.quick, self.slow = FairQueue(one_thread), FairQueue(decoder_process)

    async def predict(self, client: str, content: bytes) -> tuple[Prediction, float]:
        """The prediction for a file's bytes, and how many milliseconds of work it took.

        Raises:
            PictureError: the file is not an accepted picture.
            Busy: too many requests are waiting.
        """
        stored, spent = await self._decoded(client, content)
        prediction, more = await self.quick.run(client, lambda: timed(lambda: self.classifier.prediction(stored)))
        return prediction, 1000 * (spent + more)

    async def explain(self, client: str, content: bytes) -> Image.Image:
        """Grad-CAM of the prediction, over the picture.

        Raises:
            PictureError, Busy: as above.
        """
        stored, _ = await self._decoded(client, content)
        picture = await self._decode_apart(client, partial(decode_whole, content, LARGEST))
        return await self.quick.run(client, lambda: explanation(self.classifier, stored, picture))

    async def _decoded(self, client: str, content: bytes) -> tuple[np.ndarray, float]:
        """The stored image, and the seconds of work that it took."""
        size = self.classifier.stored_size
        work, first = await self.quick.run(client, lambda: timed(lambda: check_header(content, self.limits)))
        decoding = partial(timed, partial(decode, content, size))
        large = work > LARGE
        stored, second = await (self._decode_apart(client, decoding) if large else self.quick.run(client, decoding))
        return stored, first + second

    async def _decode_apart(self, client: str, decoding: Callable[[], T]) -> T:
        """Decode in the process for large pictures."""
        try:
            return await self.slow.run(client, decoding)
        except BrokenExecutor:
            raise PictureError("There was not enough memory to decode this picture. Send a smaller one.") from None

    async def show(self, path: str | None, request: gr.Request) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """For the page: the answer, the Grad-CAM button and an empty map."""
        hidden = gr.update(visible=False, value=None)
        ready = gr.update(interactive=self.map_size >= SMALLEST_MAP)
        if path is None:
            return NOTHING_YET, gr.update(interactive=False), hidden
        try:
            prediction, milliseconds = await self._predict_upload(path, request)
        except (PictureError, Busy) as error:
            return refusal_html(str(error)), gr.update(interactive=False), hidden
        html = answer_html(prediction, milliseconds, self.classifier.card)
        return html, ready, hidden

    async def classify(self, path: str | None, request: gr.Request) -> dict[str, Any]:
        """For programs: label, confidence, uncertain, probabilities, milliseconds."""
        if path is None:
            raise gr.Error("No picture was sent.", print_exception=False)
        try:
            prediction, milliseconds = await self._predict_upload(path, request)
        except (PictureError, Busy) as error:
            raise gr.Error(str(error), print_exception=False) from error
        return {
            "label": prediction.label,
            "confidence": prediction.confidence,
            "uncertain": prediction.uncertain,
            "probabilities": prediction.probabilities,
            "milliseconds": round(milliseconds, 2),
        }

    async def show_explanation(self, path: str | None, request: gr.Request) -> dict[str, Any]:
        """For the page: the Grad-CAM map."""
        if path is None:
            raise gr.Error("Choose a picture first.", print_exception=False)
        try:
            picture = await self.explain(client_of(request), read_upload(Path(path), self.limits))
        except (PictureError, Busy) as error:
            raise gr.Error(str(error), print_exception=False) from error
        return gr.update(value=picture, visible=True)

    async def _predict_upload(self, path: str, request: gr.Request) -> tuple[Prediction, float]:
        """Predict for an uploaded file; a file that is refused is deleted."""
        try:
            return await self.predict(client_of(request), read_upload(Path(path), self.limits))
        except PictureError:
            with suppress(OSError):  # it may be gone, or a folder
                Path(path).unlink()
            raise

    def example(self, event: gr.SelectData) -> Image.Image:
        """The picture of the example that was clicked."""
        with Image.open(self.classifier.examples()[event.index][1]) as image:
            return image.convert("RGB")


def client_of(request: gr.Request) -> str:
    """The client's address."""
    return request.client.host if request.client else ""
