"""Exports `serve.pipeline`, preprocessing included, as ONNX: for other runtimes and for our own server."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import ModelError
from serve.error_text import reason

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

EXTRA = "pip install 'laptop-to-cluster[serve]'"
IMAGES, PROBABILITIES = "images", "probabilities"
TOLERANCE = 1e-4  # largest difference of probabilities between ONNX Runtime and torch


def onnx_bytes(pipeline: nn.Module, stored_size: int) -> bytes:
    """The pipeline as an ONNX file: uint8 [n, 3, S, S] to float [n, C], for any n.

    Raises:
        ModelError: onnx or onnxscript are not installed, or torch cannot export the backbone.
    """
    example = torch.zeros(2, 3, stored_size, stored_size, dtype=torch.uint8)  # two: torch.export fixes a size of one
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # torch.onnx warns about its own internals
        try:
            program = torch.onnx.export(
                pipeline,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("n")},),
                input_names=[IMAGES],
                output_names=[PROBABILITIES],
                verbose=False,
            )
            assert program is not None
            path = Path(folder) / "pipeline.onnx"
            program.save(path, external_data=False)
        except ImportError as error:
            raise ModelError(f"ONNX needs more packages ({error}); install them with {EXTRA}.") from error
        except (RuntimeError, ValueError) as error:  # ValueError: more weights than fit into one file
            raise ModelError(f"torch cannot export this backbone to ONNX ({reason(error)}).") from error
        return path.read_bytes()


class OnnxPipeline:
    """Runs an exported pipeline as if it were the torch one.

    Args:
        content: an ONNX file.
        threads: of each run.

    Raises:
        ModelError: ONNX Runtime is not installed, or cannot run this file.
    """

    def __init__(self, content: bytes, threads: int) -> None:
        self.session = session(content, threads)

    def __call__(self, stored: Tensor) -> Tensor:
        try:
            return torch.from_numpy(self.session.run([PROBABILITIES], {IMAGES: stored.numpy()})[0])
        except Exception as error:  # onnxruntime's errors have no other common base class
            raise ModelError(f"ONNX Runtime cannot run this network ({reason(error)}).") from error


def onnx_runtime() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"ONNX Runtime is not installed ({error}); install it with {EXTRA}.") from error
    return onnxruntime


def session(content: bytes, threads: int) -> InferenceSession:
    """An ONNX Runtime session on the CPU."""
    runtime = onnx_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    # Idle threads sleep instead of spinning: others use the machine too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime cannot load this network ({reason(error)}).") from error


@torch.inference_mode()
def largest_difference(found: Callable[[Tensor], Tensor], expected: nn.Module, images: np.ndarray) -> float:
    """The largest difference between two pipelines' probabilities on stored images, uint8 [n, 3, S, S]."""
    stored = torch.from_numpy(images)
    return (found(stored) - expected(stored)).abs().max().item()
