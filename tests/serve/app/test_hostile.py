"""Five hundred hostile or broken uploads: each is answered in words, and the server is as it was."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from demo_server import Server
from gradio_api import Api, Refused, client
from hostile import KINDS, VARIANTS, Upload, encoded, picture, uploads

MORE_MEMORY = 64e6  # bytes: what an allocator may keep; one bomb alone would take four times that
MESSAGES = ("is not a PNG", "is damaged", "is empty", "megapixels are accepted", "far larger than", "is damaged")
pytestmark = pytest.mark.xdist_group("demo")  # one server for all


def answer(api: Api, upload: Upload) -> str:
    """What the server says: a label, or its refusal."""
    try:
        return "label: " + api.classify(upload.content, upload.name)["label"]
    except Refused as refused:
        return str(refused)


def test_500_hostile_uploads_are_answered_and_leave_no_trace(server: Server) -> None:
    api = Api(server.url)
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):  # what is loaded once, is loaded
        api.classify(encoded(picture(np.random.default_rng(0)).resize((1500, 1500)), kind))
    before, files = server.memory(), set(server.files())

    outcomes, unclear = Counter[str](), []
    for upload in uploads():
        said = answer(api, upload)
        outcomes[upload.kind] += said.startswith("label: ") == upload.is_picture
        if not upload.is_picture and not any(words in said for words in MESSAGES):
            unclear.append((upload.kind, said))

    assert outcomes == dict.fromkeys(KINDS, VARIANTS)
    assert unclear == []
    assert client(server.url).get("/health").json()["status"] == "ok"
    pictures = sum(VARIANTS for _, _, is_picture in KINDS.values() if is_picture)
    left = [path for path in server.files() if path not in files]
    assert len(left) <= pictures  # the refused ones are gone at once; the others go after ten minutes
    assert server.memory() - before < MORE_MEMORY
