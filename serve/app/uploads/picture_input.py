"""Gradio's image input, without its own decoding and downloading.

gr.Image opens uploads with Pillow before any of our functions sees them, decodes base64 URLs without a limit, and
fetches http addresses that a client sends instead of a file (gradio 6.31, image_utils.preprocess_image and
Block.async_move_resource_to_block_cache). Here only the path of an uploaded file goes through.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder

ONLY_UPLOADS = (
    "Only uploaded pictures are accepted, not URLs or other files. In Python: "
    'client.predict(handle_file("cat.jpg"), api_name="/classify").'
)


def picture_input(**options: Any) -> gr.Image:
    """A picture from upload, webcam or clipboard, handed over as the path of its file.

    Its methods are replaced on the instance: for a subclass, Gradio would write a .pyi beside its source.

    Args:
        options: as in gr.Image.
    """
    # PNG is lossless, so that the examples get the answers that they got in the test.
    picture = gr.Image(type="filepath", image_mode=None, format="png", **options)
    move, async_move = picture.move_resource_to_block_cache, picture.async_move_resource_to_block_cache

    async def async_move_uploaded(path: str | Path | None) -> str | None:
        check_uploaded(path)
        return await async_move(path)

    def move_uploaded(path: str | Path | None) -> str | None:
        check_uploaded(path)
        return move(path)

    changed = {
        "async_move_resource_to_block_cache": async_move_uploaded,
        "move_resource_to_block_cache": move_uploaded,
        "preprocess": path_of,
    }
    for name, function in changed.items():
        setattr(picture, name, function)
    return picture


def is_upload(sent: Any) -> bool:
    """Whether a client has sent an uploaded file, as handle_file does, or nothing."""
    try:
        path = None if sent is None else ImageData.model_validate(sent).path
        return sent is None or (path is not None and is_inside_upload_folder(path))
    except (ValueError, OSError):  # other fields; a zero byte, a name that is too long
        return False


def path_of(payload: ImageData | None) -> str | None:
    """The path that our functions receive."""
    return None if payload is None else payload.path


def check_uploaded(path: str | Path | None) -> None:
    """Raise a gr.Error for anything but a file in the upload folder.

    gradio 6.31 checks this only in apps that were started by launch(); in a mounted app, a client could name any file
    on this machine (processing_utils._check_allowed returns where has_launched is False).
    """
    if path is not None and not is_inside_upload_folder(path):
        raise gr.Error(ONLY_UPLOADS, print_exception=False)


def is_inside_upload_folder(path: str | Path) -> bool:
    """Whether a path, with links resolved, is in the upload folder; raises what Path.resolve raises."""
    return Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())
