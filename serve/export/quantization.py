"""int8 by ONNX Runtime's static quantisation: 7-bit weights and 8-bit activations, one scale per channel.

On 2,000 test images of CIFAR-10, MobileNetV2 lost 19.4 points of accuracy with one scale per tensor (0.8975 to 0.7040),
and 0.5 with one per channel. On a CPU with AVX2 but without VNNI, sums of 8-bit products saturate: there, on all 10,000
images, 8-bit weights lost 4.2 points (0.8457 to 0.8038) and 7-bit weights 0.4 (0.8415), at the same speed.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import ModelError
from serve.onnx_export import EXTRA, IMAGES, PROBABILITIES, session

CALIBRATED = 256  # images
BATCH = 32
ROUNDS = 30  # measurements of the latency of one picture


@dataclass(frozen=True)
class Comparison:
    """int8 compared with fp32; in each pair, fp32 comes first.

    Attributes:
        images: number of test images.
        correct: number of correct predictions.
        megabytes: size of the file.
        milliseconds: median latency of one picture, measured alternating.
    """

    images: int
    correct: tuple[int, int]
    megabytes: tuple[float, float]
    milliseconds: tuple[float, float]

    @property
    def loss(self) -> float:
        """Lost accuracy in percentage points."""
        return 100 * (self.correct[0] - self.correct[1]) / self.images

    def __str__(self) -> str:
        fp32, int8 = (count / self.images for count in self.correct)
        return (
            f"int8 against fp32 on {self.images:,} test images: accuracy {int8:.4f} against {fp32:.4f} "
            f"({-self.loss:+.2f} points); {self.megabytes[1]:.1f} MB against {self.megabytes[0]:.1f}; one picture "
            f"{self.milliseconds[1]:.2f} ms against {self.milliseconds[0]:.2f} (median of {ROUNDS}, on this machine)"
        )


def quantized(content: bytes, images: np.ndarray) -> bytes:
    """Quantise an ONNX pipeline to int8.

    Args:
        content: the pipeline in fp32.
        images: uint8 [n, 3, S, S], to calibrate the scales of the activations.

    Raises:
        ModelError: onnx or onnxruntime is missing.
    """
    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ModelError(f"int8 needs more packages ({error}); install them with {EXTRA}.") from error
    logging.getLogger().addFilter(lambda record: "pre-processing" not in record.getMessage())
    with tempfile.TemporaryDirectory() as folder:
        fp32, prepared, int8 = (Path(folder) / f"{name}.onnx" for name in ("fp32", "prepared", "int8"))
        fp32.write_bytes(content)
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(int8),
            Batches(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,  # 7-bit weights, so that sums saturate on no CPU
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=outside_network(prepared),
        )
        return int8.read_bytes()


class Batches:
    """A calibration data reader, with the methods of onnxruntime.quantization.CalibrationDataReader."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches = iter([images[start : start + BATCH] for start in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next inputs, or None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {IMAGES: batch}


def outside_network(path: Path) -> list[str]:
    """Nodes to leave in fp32: the pixel scaling before the first convolution, and the softmax, which 8 bits coarsen."""
    import onnx

    nodes = onnx.load(path).graph.node
    first = next((place for place, node in enumerate(nodes) if node.op_type == "Conv"), 0)
    return [node.name for place, node in enumerate(nodes) if place < first or node.op_type == "Softmax"]


def compare(fp32: bytes, int8: bytes, batches: Iterable[tuple[np.ndarray, np.ndarray]], threads: int) -> Comparison:
    """Accuracy, size and latency of both.

    Args:
        fp32, int8: ONNX files.
        batches: stored images, uint8 [n, 3, S, S], with labels, int [n].
        threads: of each run.
    """
    sessions = [session(content, threads) for content in (fp32, int8)]
    images, correct, one = 0, [0, 0], None
    for stored, labels in batches:
        one = stored[:1] if one is None else one
        images += len(labels)
        for place, each in enumerate(sessions):
            correct[place] += int((run(each, stored).argmax(axis=1) == labels).sum())
    assert one is not None, "LabelledImages has test images"
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for place, each in enumerate(sessions):
            started = time.perf_counter()
            run(each, one)
            seconds[place].append(time.perf_counter() - started)
    medians = [1000 * statistics.median(each) for each in seconds]
    sizes = (len(fp32) / 1e6, len(int8) / 1e6)
    return Comparison(images, (correct[0], correct[1]), sizes, (medians[0], medians[1]))


def run(session: Any, stored: np.ndarray) -> np.ndarray:
    """Stored images, uint8 [n, 3, S, S], to probabilities, float [n, C]."""
    return session.run([PROBABILITIES], {IMAGES: stored})[0]
