"""A plain loop like the original study's, as the baseline.

PIL transforms at full size in a DataLoader with two workers, fp32, NCHW, Adam, `.item()` in every step. It uses nothing
of ours, not even the memory policy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator

import torch
from PIL import Image
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

from lightning_app.bench.random_data import noise

WORKERS = {"cpu": 2, "cuda": 8}  # the study's, and enough not to starve a GPU
WARMUP_STEPS = 1


class Pictures(Dataset):
    """Pillow images with the original transforms."""

    def __init__(self, images: int, image_size: int) -> None:
        pixels, self.labels = noise(images)
        self.pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in pixels]
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(image_size, scale=(0.7, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(0.3, 0.3, 0.3, 0.1),
                transforms.RandomRotation(15),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[index]), int(self.labels[index])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "gpu"], help="(default: a GPU if there is one)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no step that would end later")
    return parser.parse_args()


def main() -> None:
    """Train for some steps and print images/s, the seconds of each step, and how it ran, as JSON."""
    options = parse()
    began = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu")
    images = (options.steps + WARMUP_STEPS) * options.batch_size
    pictures, on_gpu = Pictures(images, options.image_size), device.type == "cuda"
    loader = DataLoader(pictures, options.batch_size, shuffle=True, num_workers=WORKERS[device.type], pin_memory=on_gpu)
    model = models.mobilenet_v2(num_classes=10).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    ends: list[float] = []
    for end in train(model, optimizer, loader, device):
        ends.append(end)
        if len(ends) > WARMUP_STEPS and 2 * ends[-1] - ends[-2] > began + options.seconds:
            break
    steps = [end - began for began, end in itertools.pairwise(ends[WARMUP_STEPS - 1 :])]
    speed = {"images_per_second": options.batch_size / statistics.mean(steps), "steps": steps}
    ran = {"batch_size": options.batch_size, "threads": torch.get_num_threads(), "device": device.type}
    print(json.dumps(speed | {"counted_steps": len(steps)} | ran))


def train(model: nn.Module, optimizer: Optimizer, loader: DataLoader, device: torch.device) -> Iterator[float]:
    """The loop itself; yields when each step ends."""
    right = 0
    for pixels, labels in loader:
        pixels, labels = pixels.to(device), labels.to(device)
        optimizer.zero_grad()
        logits = model(pixels)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        right += (logits.argmax(dim=1) == labels).sum().item()
        yield time.perf_counter()


if __name__ == "__main__":
    main()
