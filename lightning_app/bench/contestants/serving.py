"""The serving path beside plain eager fp32, by serve.bench, on a model and images made for it."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from lightning_app.bench.random_data import CLASSES, noise
from lightning_app.errors import UsageError
from models.artifact import save_artifact
from models.normalized_network import IMAGENET_MEAN, IMAGENET_STD, Network

PICTURES, REQUESTS, SIZE = 8, 100, 224
SAID = re.compile(r"served / plain: median ([\d.]+) times as fast, batches ([\d.]+)")


def main() -> None:
    """Print the speed ratio as JSON."""
    parser = argparse.ArgumentParser(prog="python -m lightning_app.bench.contestants.serving", description=__doc__)
    parser.parse_args()
    try:
        print(json.dumps(measure()))
    except UsageError as error:
        parser.error(str(error))


def measure() -> dict[str, float]:
    """The speed ratios: one image, and batches; a UsageError if serve.bench failed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        make_pictures(folder / "pictures")
        command = [sys.executable, "-m", "serve.bench", "--requests", str(REQUESTS)]
        command += ["--model", str(folder / "model"), "--images", str(folder / "pictures")]
        done = subprocess.run(command, capture_output=True, text=True)
    found = SAID.search(done.stdout)
    if done.returncode or not found:
        raise UsageError(f"serve.bench failed with exit code {done.returncode}: {done.stderr or done.stdout}")
    return {"one picture": float(found[1]), "batches": float(found[2])}


def make_model(folder: Path) -> None:
    """An artifact with random weights, which take as long as others."""
    torch.manual_seed(0)
    classes = [f"class {number}" for number in range(CLASSES)]
    card = {"backbone": "mobilenet_v2", "classes": classes, "input_size": SIZE, "stored_size": 32}
    card |= {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "metrics": {}, "provenance": {}}
    save_artifact(folder, Network("mobilenet_v2", CLASSES), card)


def make_pictures(folder: Path) -> None:
    """Noise, as a data set: two classes, and training images too, without which a folder is none."""
    for number, image in enumerate(noise(PICTURES)[0]):
        for split in ("train", "test"):
            path = folder / split / f"class {number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)


if __name__ == "__main__":
    main()
