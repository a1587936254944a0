"""A figure of how close each layer of a training step comes to the processor's limits.

    python -m lightning_app.bench.roofline --to docs/images/roofline.png

Measures the memory bandwidth and the peak of bf16 matrix products here, then each convolution and BatchNorm of
MobileNetV2 separately, forward and backward. A layer's bytes are those of its large tensors, read or written once: the
minimum if its kernel kept everything else in the cache (Williams et al. 2009, Roofline).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_app.bench.random_data import CLASSES
from lightning_app.provenance import cpu_name
from lightning_app.trainer.malloc import keep_freed_memory
from models.normalized_network import Network

REPEATS = 5
BYTES = 2  # of a bf16
SIDE = 2048  # of the matrices for the peak
BANDWIDTH_ELEMENTS = 1 << 27


class Point(NamedTuple):
    """A layer in one direction."""

    kind: str
    direction: str
    seconds: float
    flops: float
    bytes: float


def main() -> None:
    """Measure, print the totals by layer type, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--to", type=Path, required=True, help="the image file; its figures go beside it as .json")
    options = parser.parse_args()
    keep_freed_memory()
    bandwidth, peak = measure_bandwidth(), measure_peak()
    points = [point for layer, shape in layers(options) for point in measure(layer, shape)]
    print(table(points, bandwidth, peak))
    figures = {"bandwidth": bandwidth, "peak": peak, "points": [point._asdict() for point in points]}
    options.to.with_suffix(".json").write_text(json.dumps(figures, indent=1))
    draw(points, bandwidth, peak).savefig(options.to, dpi=150)


def median_seconds(work: Callable[[], Any]) -> float:
    """The median of several runs, after one to warm up."""
    work()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def measure_bandwidth() -> float:
    """Bytes per second, read and written, of a copy that does not fit any cache."""
    source = torch.ones(BANDWIDTH_ELEMENTS, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source))


def measure_peak() -> float:
    """Floating-point operations per second of a bf16 matrix product."""
    matrix = torch.randn(SIDE, SIDE, dtype=torch.bfloat16)
    return 2 * SIDE**3 / median_seconds(lambda: matrix @ matrix)


def layers(options: argparse.Namespace) -> list[tuple[nn.Module, torch.Size]]:
    """Each convolution and BatchNorm of the network, with its input shape."""
    network = Network("mobilenet_v2", CLASSES).train()
    found: list[tuple[nn.Module, torch.Size]] = []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(lambda layer, given, _: found.append((layer, given[0].shape)))
    with torch.no_grad():
        network(torch.rand(2, 3, options.image_size, options.image_size))
    return [(layer, torch.Size([options.batch_size, *shape[1:]])) for layer, shape in found]


def measure(layer: nn.Module, shape: torch.Size) -> list[Point]:
    """Run the layer forward and backward on random numbers; the first layer's input needs no gradient."""
    images = torch.randn(shape, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    images.requires_grad_(shape[1] > 3)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(images)
        forward = median_seconds(lambda: layer(images))
    grad = torch.randn_like(output)
    needed = [tensor for tensor in (images, *layer.parameters()) if tensor.requires_grad]
    backward = median_seconds(lambda: torch.autograd.grad(output, needed, grad, retain_graph=True))
    kind, flops = kind_and_flops(layer, output)
    passed = (images.numel() + output.numel()) * BYTES
    return [Point(kind, "forward", forward, flops, passed), Point(kind, "backward", backward, 2 * flops, 2 * passed)]


def kind_and_flops(layer: nn.Module, output: Tensor) -> tuple[str, float]:
    """A layer's name, and its forward operations."""
    if not isinstance(layer, nn.Conv2d):
        return "batch norm + ReLU6", 8.0 * output.numel()
    kind = "depthwise" if layer.groups > 1 else "pointwise" if layer.kernel_size == (1, 1) else "first"
    return f"{kind} convolution", 2.0 * output.numel() * layer.weight[0].numel()


def table(points: list[Point], bandwidth: float, peak: float) -> str:
    """Milliseconds by layer type and direction, and as a share of what bandwidth and peak allow."""
    rows = [f"{cpu_name()}, {torch.get_num_threads()} threads: {bandwidth / 1e9:.1f} GB/s, {peak / 1e9:.0f} GFLOP/s"]
    rows.append(f"{'':<34}{'ms':>8}{'possible':>10}")
    for kind, direction in dict.fromkeys((point.kind, point.direction) for point in points):
        own = [point for point in points if (point.kind, point.direction) == (kind, direction)]
        taken = sum(point.seconds for point in own)
        possible = sum(max(point.bytes / bandwidth, point.flops / peak) for point in own)
        rows.append(f"{kind + ', ' + direction:<34}{1000 * taken:8.1f}{1000 * possible:10.1f}")
    return "\n".join(rows)


def draw(points: list[Point], bandwidth: float, peak: float) -> Any:
    """Operations per second over operations per byte, on logarithmic axes, below the roof."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    intensities = [2**power for power in range(-1, 11)]
    axes.plot(intensities, [min(peak, bandwidth * each) / 1e9 for each in intensities], color="black", label="roof")
    for kind, marker in zip(dict.fromkeys(point.kind for point in points), "so^v", strict=False):
        for direction, filled in (("forward", True), ("backward", False)):
            own = [point for point in points if (point.kind, point.direction) == (kind, direction)]
            axes.scatter(
                [point.flops / point.bytes for point in own],
                [point.flops / point.seconds / 1e9 for point in own],
                s=[8 + 4000 * point.seconds for point in own],
                marker=marker,
                facecolors="0.5" if filled else "none",
                edgecolors="0.2",
                label=f"{kind}, {direction}",
            )
    axes.set(xscale="log", yscale="log", xlabel="operations per byte of memory traffic", ylabel="GFLOP/s")
    axes.set_title("Layers of a training step; the area shows the time they take")
    axes.legend(fontsize="small", markerscale=0.6)
    return figure


if __name__ == "__main__":
    main()
