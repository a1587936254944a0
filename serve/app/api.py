"""Our own routes: POST /classify for programs, the page's upload, and GET /health."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import StreamingResponse

from serve.app.demo import Demo
from serve.app.fair_queue import Busy
from serve.app.login import address
from serve.app.uploads.pictures import PictureError
from serve.app.uploads.store import NoRoom, UploadStore

TOP = 3
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
ANSWER = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "description": "the most likely class"},
        "confidence": SHARE | {"description": "its probability"},
        "uncertain": {
            "type": ["boolean", "null"],
            "description": "whether the confidence is below the threshold; null without one",
        },
        "top": {
            "type": "array",
            "description": f"the {TOP} most likely classes",
            "items": {"type": "object", "properties": {"label": {"type": "string"}, "probability": SHARE}},
        },
        "milliseconds": {"type": "number", "description": "computing time, without the wait in the queue"},
    },
}
PICTURE = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
DESCRIPTION: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": PICTURE}}},
    "responses": {
        "200": {"description": "the answer", "content": {"application/json": {"schema": ANSWER}}},
        "400": {"description": "no picture was sent, or more than one"},
        "413": {"description": "the file is too large"},
        "422": {"description": "the file is not an accepted picture; `detail` says why"},
        "429": {"description": "too many requests are waiting"},
    },
}


def add_routes(app: FastAPI, demo: Demo, store: UploadStore) -> None:
    """Add our routes. Call this before Gradio adds its own, since the first match answers."""

    @app.get("/health")
    def health() -> dict[str, object]:
        card = demo.classifier.card
        return {"status": "ok", "backbone": card["backbone"], "classes": len(card["classes"])}

    @app.post("/classify", openapi_extra=DESCRIPTION)
    async def classify(request: Request) -> dict[str, Any]:
        """The class of a picture: curl -F file=@cat.jpg http://127.0.0.1:7860/classify"""
        content = await received(request, demo, store, lambda upload, content: None)
        try:
            prediction, milliseconds = await demo.predict(address(request), content)
        except PictureError as error:
            raise HTTPException(422, str(error)) from error
        except Busy as error:
            raise HTTPException(429, str(error)) from error
        ranked = [{"label": name, "probability": share} for name, share in prediction.ranked(TOP)]
        found = {"label": prediction.label, "confidence": prediction.confidence, "uncertain": prediction.uncertain}
        return {**found, "top": ranked, "milliseconds": round(milliseconds, 2)}

    @app.post("/gradio_api/upload", include_in_schema=False)
    async def upload(request: Request) -> list[str]:
        paths: list[str] = []
        await received(request, demo, store, lambda upload, content: paths.append(str(store.add(upload, content))))
        return paths

    @app.get("/gradio_api/upload_progress", include_in_schema=False)
    def upload_progress() -> StreamingResponse:
        """The page asks for it, but most uploads finish before it could draw a progress bar."""
        return StreamingResponse(iter(['data: {"msg": "done"}\n\n']), media_type="text/event-stream")


async def received(request: Request, demo: Demo, store: UploadStore, keep: Callable[[Any, bytes], None]) -> bytes:
    """The one file in a request; space for it is reserved while it arrives."""
    declared = request.headers.get("content-length", "")
    size = min(int(declared), demo.limits.bytes) if declared.isdigit() else demo.limits.bytes
    try:
        with store.room(address(request), size) as upload:
            content = await only_file(request)
            if len(content) > demo.limits.bytes:
                raise HTTPException(413, f"At most {demo.limits.megabytes:g} MB are accepted.")
            keep(upload, content)
            return content
    except NoRoom as error:
        raise HTTPException(429, str(error)) from error


async def only_file(request: Request) -> bytes:
    """The content of the one file in a form."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(400, "Send one picture as a form: curl -F file=@cat.jpg.")
    try:
        form = await MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=10).parse()
    except MultiPartException as error:
        raise HTTPException(400, f"Send one picture as a form: curl -F file=@cat.jpg. {error.message}") from error
    try:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if not files:
            raise HTTPException(400, "No file was sent; send one picture as a form: curl -F file=@cat.jpg.")
        return await files[0].read()
    finally:
        await form.close()
