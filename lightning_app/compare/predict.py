"""The step time of ranks that were not measured: what they compute, and what their link then makes them wait.

Buckets of gradients become ready one after the other during the backward pass, and travel one after the other; what
has not arrived when the pass ends is waited for.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BEYOND = (2, 4, 8)  # times the largest number of ranks that was measured


@dataclass(frozen=True)
class Link:
    """A ring's: each of 2 (N - 1) rounds costs a latency and moves 1/N of the bytes (Patarasu and Yuan, J. Parallel
    Distrib. Comput. 69, 2009, 117-124); gloo and, among few ranks, nccl reduce so.

    Attributes:
        latency: seconds of a round.
        bandwidth: bytes per second.
    """

    latency: float
    bandwidth: float

    @classmethod
    def fitted(cls, points: Sequence[dict[str, Any]], ranks: int) -> Link:
        """From measured all-reduces, each counting by its relative error."""
        rounds = 2 * (ranks - 1)
        seconds = np.array([point["seconds"] for point in points])
        sizes = np.array([point["bytes"] for point in points], dtype=float)
        columns = np.stack([np.full_like(seconds, rounds), rounds / ranks * sizes], axis=1) / seconds[:, None]
        (latency, per_byte), *_ = np.linalg.lstsq(columns, np.ones_like(seconds), rcond=None)
        return cls(max(float(latency), 0.0), 1 / max(float(per_byte), 1e-15))

    def seconds(self, size: float, ranks: int) -> float:
        """An all-reduce of `size` bytes."""
        return 2 * (ranks - 1) * (self.latency + size / ranks / self.bandwidth)


@dataclass(frozen=True)
class Step:
    """A training step without communication.

    Attributes:
        seconds: it takes.
        buckets: bytes, and seconds from its beginning until they are ready to leave; in this order.
    """

    seconds: float
    buckets: Sequence[tuple[int, float]]

    @classmethod
    def measured(cls, ranks: Sequence[dict[str, Any]]) -> Step:
        """From what Communication left on each rank: medians over steps, of the slowest rank."""
        slowest = max(ranks, key=lambda rank: statistics.median(rank["communication"]["without"]))
        sizes = [size for size, _ in slowest["buckets"][0]]
        ready = [statistics.median(times) for times in zip(*each_ready(slowest["buckets"]), strict=True)]
        return cls(statistics.median(slowest["communication"]["without"]), list(zip(sizes, ready, strict=True)))

    def taking(self, seconds: float) -> Step:
        """The same step, computed in another time."""
        scale = seconds / self.seconds
        return Step(seconds, [(size, ready * scale) for size, ready in self.buckets])

    def over(self, link: Link, ranks: int) -> float:
        """Seconds of the step with its gradients exchanged over a link."""
        arrived = 0.0
        for size, ready in self.buckets:
            arrived = max(arrived, ready) + link.seconds(size, ranks)
        last = self.buckets[-1][1]
        return max(arrived, last) + self.seconds - last


def each_ready(buckets: Sequence[Sequence[tuple[int, float]]]) -> list[list[float]]:
    """Of each step, when its buckets were ready."""
    return [[ready for _, ready in step] for step in buckets]
