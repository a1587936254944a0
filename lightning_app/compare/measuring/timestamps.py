"""Moments on the training device, and the time between two of them."""

from __future__ import annotations

import time

import torch

# Seconds on a CPU; an event on a GPU, which works on while the program hurries ahead.
Mark = float | torch.cuda.Event
Span = tuple[Mark, Mark]


def mark(device: torch.device) -> Mark:
    """Now, when the device has come to here."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds(spans: list[Span]) -> list[float]:
    """How long each was; on a GPU this waits for the last of them."""
    return [length(*span) for span in spans]


def length(began: Mark, ended: Mark) -> float:
    """Seconds between two marks of one device."""
    if isinstance(began, float):
        assert isinstance(ended, float)
        return ended - began
    assert not isinstance(ended, float)
    ended.synchronize()
    return began.elapsed_time(ended) / 1000
