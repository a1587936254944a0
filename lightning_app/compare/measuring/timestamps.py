"""Moments on the training device, and the time between two of them."""

from __future__ import annotations

import time

import torch

# Seconds on a CPU; an event on a GPU, which still works while the program runs ahead.
Mark = float | torch.cuda.Event
Span = tuple[Mark, Mark]


def mark(device: torch.device) -> Mark:
    """The moment when the device reaches this point."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds(spans: list[Span]) -> list[float]:
    """The duration of each; on a GPU this waits for the last of them."""
    return [length(*span) for span in spans]


def length(began: Mark, ended: Mark) -> float:
    """Seconds between two marks on one device."""
    if isinstance(began, float):
        assert isinstance(ended, float)
        return ended - began
    assert not isinstance(ended, float)
    ended.synchronize()
    return began.elapsed_time(ended) / 1000
