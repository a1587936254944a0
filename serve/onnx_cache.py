"""A cache of ONNX exports: an export takes many seconds, and the same network always gives the same file."""

from __future__ import annotations

import hashlib
import inspect
import os
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import datamodules.geometry
import models.normalized_network
import serve.onnx_export
import serve.pipeline
from lightning_app.files import cache_folder, replace_file
from serve.onnx_export import onnx_bytes
from serve.pipeline import Pipeline

KEPT = 200e6  # bytes of all files; the least recently used are deleted first
PACKAGES = ("torch", "torchvision", "onnx", "onnxscript")
SOURCES = (datamodules.geometry, models.normalized_network, serve.onnx_export, serve.pipeline)


def cached_onnx_bytes(pipeline: Pipeline, stored_size: int) -> bytes:
    """Like `onnx_bytes`, but read from the cache if the same network was exported before.

    Callers compare the file's answers with torch's, whether it is cached or new.

    Raises:
        ModelError: as `onnx_bytes`.
    """
    path = cache_folder("onnx") / f"{fingerprint(pipeline, stored_size)}.onnx"
    with suppress(OSError):
        content = path.read_bytes()
        os.utime(path)
        return content
    content = onnx_bytes(pipeline, stored_size)
    with suppress(OSError):  # no writable cache folder: the next start exports again
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, content)
        prune(path.parent)
    return content


def fingerprint(pipeline: Pipeline, stored_size: int) -> str:
    """A hash of everything that determines the file: weights, layers, sizes, our sources, and versions."""
    known: list[object] = [repr(pipeline), pipeline.input_size, stored_size]
    known += [metadata.version(name) for name in PACKAGES if is_installed(name)]
    known += [inspect.getsource(module) for module in SOURCES]
    digest = hashlib.sha256("\n".join(map(str, known)).encode())
    for name, tensor in (*pipeline.named_parameters(), *pipeline.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()[:32]


def is_installed(package: str) -> bool:
    """Whether a package is installed, without importing it."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def prune(where: Path) -> None:
    """Delete the least recently used files beyond KEPT."""
    files = sorted(where.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > KEPT:
            path.unlink(missing_ok=True)
