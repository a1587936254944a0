"""Which files are images, by name: one rule for directories and archives, for packing, serving and labelling."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import PurePosixPath

HEIF_SUFFIXES = (".heic", ".heif", ".hif")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".pcx", ".avif", ".jp2", ".j2k", ".jpf", ".jpx"),
    *(HEIF_SUFFIXES if find_spec("pillow_heif") else ()),
)
# Formats of cameras and programs that Pillow does not read: worth an explanation.
UNSUPPORTED = (*HEIF_SUFFIXES, ".svg", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raw", ".psd", ".eps")
# Folders that macOS, network drives, Windows and file systems add.
CLUTTER = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")

HIDDEN = re.compile(
    rf"(?:^|/)(?:\.(?!/|$)|(?:{'|'.join(map(re.escape, CLUTTER))})(?:/|$))"
)  # the start of a path component, or all of it


def is_hidden(name: str) -> bool:
    """Whether a path, or a folder in it, is hidden or clutter that no user made."""
    return HIDDEN.search(name) is not None


def is_image(name: str) -> bool:
    """Whether a path is an image's, and not a folder's."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def why_not(name: str) -> str:
    """Why a path is not an image's, in words that follow a count."""
    suffix = PurePosixPath(name).suffix.lower()
    if is_hidden(name):
        return "hidden"
    if suffix in HEIF_SUFFIXES:
        return f"{suffix}, which pip install pillow-heif makes readable"
    if suffix in UNSUPPORTED:
        return f"{suffix}, which Pillow does not read"
    return f"not images ({suffix})" if suffix else "without a file extension"


def displayable(name: str) -> str:
    """A name that any file, table or page can contain: invalid UTF-8 and control characters are escaped."""
    if name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace") if has_surrogates(name) else name
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def has_surrogates(name: str) -> bool:
    """Whether a name has bytes that are not UTF-8, as Python reads them from a file system."""
    return any("\udc80" <= each <= "\udcff" for each in name)
