"""python -m serve.bench: time the served path and plain eager fp32, alternating, from file bytes to probabilities.

Plain is what a first version would do: the same decoding and resizing, then the backbone in eager torch, fp32 and NCHW,
without folding batch norm, on the same number of threads.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from datamodules.sources.decoding import decode_image
from datamodules.sources.folder import ImageFolder
from lightning_app.errors import UsageError, UserError
from models.artifact import load_artifact
from models.normalized_network import Network
from serve.classifier import Classifier
from serve.pipeline import Pipeline

BATCH = 64  # images, for throughput and accuracy
BLOCK = 5  # requests to one path before the other, so that a noisy moment hits both
WARM_UP = 20
Answer = Callable[[np.ndarray], Tensor]  # stored images uint8 [n, 3, S, S] to probabilities [n, C]


class Plain(nn.Module):
    """The network as a first version would write it: normalise, then the backbone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.backbone = network.backbone.to(memory_format=torch.contiguous_format)
        self.mean, self.std = -network.offset / network.scale, 1 / network.scale

    def forward(self, pixels: Tensor) -> Tensor:
        return self.backbone((pixels - self.mean) / self.std)


def main() -> int:
    options = parse()
    try:
        check(options)
        torch.set_num_threads(options.threads or torch.get_num_threads())
        model = Classifier(options.model)
        model.accelerate()
        paths: dict[str, Answer] = {"plain": plain_path(options.model), "served": model.probabilities}
        files, labels = pictures(options, model)
        if options.requests:
            compare(paths, files, model.stored_size, options.requests)
        compare_answers(paths, files, labels, model)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serve.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the artifact: runs/<name>/<version>/model")
    parser.add_argument("--images", type=Path, help="data set with test/<class>/* (default: the artifact's examples)")
    parser.add_argument("--limit", type=int, default=10_000, help="largest number of test images (default: 10000)")
    parser.add_argument("--requests", type=int, default=300, help="to each path; 0: accuracy only (default: 300)")
    parser.add_argument("--threads", type=int, help="threads of each path (default: torch's)")
    return parser.parse_args()


def check(options: argparse.Namespace) -> None:
    """Raise a UsageError for a number that is too small."""
    for name, least in (("limit", 1), ("requests", 0), ("threads", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value}; expected {least} or more.")


def plain_path(folder: Path) -> Answer:
    """The plain path of an artifact."""
    network, card = load_artifact(folder)
    pipeline = Pipeline(Plain(network), card["input_size"])

    @torch.inference_mode()
    def answer(stored: np.ndarray) -> Tensor:
        return pipeline(torch.from_numpy(stored))

    return answer


def pictures(options: argparse.Namespace, model: Classifier) -> tuple[list[bytes], list[str]]:
    """The bytes of each test image, and its class."""
    if options.images is None:
        examples = model.examples()
        if not examples:
            raise UsageError("the artifact contains no test images; name a data set with --images.")
        return [path.read_bytes() for _, path in examples], [entry["label"] for entry, _ in examples]
    source = ImageFolder(options.images)
    classes = {entry.name: label for split, label, entry in source.layout.rows if split == "test"}
    if not classes:
        raise UsageError(f"no test images in {options.images}; expected test/<class>/<image>.")
    if unknown := sorted(set(classes.values()) - set(model.classes)):
        raise UsageError(f"{options.images} has classes that the model does not know: {', '.join(unknown)}.")
    chosen = list(classes)[:: -(-len(classes) // options.limit)]  # of every class
    found = [(load(), classes[name]) for name, load in source.files.loads(chosen)]
    return [content for content, _ in found], [label for _, label in found]


def compare(paths: dict[str, Answer], files: Sequence[bytes], size: int, requests: int) -> None:
    """Print the latency of single pictures and the throughput of batches, alternating between the paths."""
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for block in range(-(-requests // BLOCK) + WARM_UP // BLOCK):
        for name, answer in paths.items():
            for place in range(BLOCK):
                content = files[(block * BLOCK + place) % len(files)]
                started = time.perf_counter()
                answer(np.ascontiguousarray(decode_image(content, size)[None]))
                seconds[name].append(time.perf_counter() - started)
    batch = np.stack([decode_image(files[place % len(files)], size) for place in range(BATCH)])
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(6):
        for name, answer in paths.items():
            started = time.perf_counter()
            answer(batch)
            rates[name].append(BATCH / (time.perf_counter() - started))
    print(f"{torch.get_num_threads()} threads     median ms    p99 ms    images/s in batches of {BATCH}")
    for name in paths:
        times = sorted(seconds[name][WARM_UP:])
        p99 = times[int(0.99 * (len(times) - 1))]
        rate = statistics.median(rates[name][1:])
        print(f"{name:<12} {1000 * statistics.median(times):9.2f} {1000 * p99:9.2f} {rate:12.1f}")
    medians = [statistics.median(seconds[name][WARM_UP:]) for name in ("plain", "served")]
    batches = [statistics.median(rates[name][1:]) for name in ("plain", "served")]
    print(f"served / plain: median {medians[0] / medians[1]:.2f} times as fast, batches {batches[1] / batches[0]:.2f}")


def compare_answers(paths: dict[str, Answer], files: Sequence[bytes], labels: Sequence[str], model: Classifier) -> None:
    """Print each path's correct predictions, and the largest difference between their probabilities."""
    truth = torch.tensor([model.classes.index(label) for label in labels])
    found: dict[str, list[Tensor]] = {name: [] for name in paths}
    for start in tqdm(range(0, len(files), BATCH), unit="batch", disable=None):
        stored = np.stack([decode_image(content, model.stored_size) for content in files[start : start + BATCH]])
        for name, answer in paths.items():
            found[name].append(answer(stored))
    probabilities = {name: torch.cat(batches) for name, batches in found.items()}
    correct = {name: int((each.argmax(dim=1) == truth).sum()) for name, each in probabilities.items()}
    difference = (probabilities["plain"] - probabilities["served"]).abs().max().item()
    print(
        f"correct of {len(files):,}: plain {correct['plain']:,}, served {correct['served']:,}; "
        f"probabilities differ by at most {difference:.1e}"
    )


if __name__ == "__main__":
    sys.exit(main())
