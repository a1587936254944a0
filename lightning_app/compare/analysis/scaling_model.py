"""The step time of ranks that were not measured: their computing time, plus the time they wait for their link.

Gradient buckets become ready one after the other during the backward pass, and are sent one after the other; the step
waits for whatever has not arrived when the pass ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BEYOND = (2, 4, 8)  # times the largest measured number of ranks


@dataclass(frozen=True)
class Link:
    """All-reduce times between some ranks, carried over to other numbers of ranks.

    Assumes a ring: 2 (N - 1) rounds, each of which moves 1/N of the bytes (Patarasu and Yuan, J. Parallel Distrib.
    Comput. 69, 2009, 117-124); gloo and, among few ranks, nccl reduce this way. Nothing is fitted: round times are
    measured, because traffic shapers and kernels bend any line.

    Attributes:
        sizes: bytes, ascending; seconds: of an all-reduce of each.
        ranks: between which they were measured.
    """

    sizes: Sequence[float]
    seconds: Sequence[float]
    ranks: int

    @classmethod
    def measured(cls, points: Sequence[dict[str, Any]], ranks: int) -> Link:
        """From the output of measuring/all_reduce_timing.py."""
        return cls([point["bytes"] for point in points], [point["seconds"] for point in points], ranks)

    def taking(self, size: float, ranks: int) -> float:
        """Seconds of an all-reduce of `size` bytes: linear between sizes, proportional beyond the largest."""
        alike = size * self.ranks / ranks  # the size whose rounds move as much
        beyond = max(alike / self.sizes[-1], 1.0)
        return float(np.interp(alike, self.sizes, self.seconds)) * beyond * (ranks - 1) / (self.ranks - 1)

    @property
    def latency(self) -> float:
        """Seconds per round with the fewest bytes."""
        return self.seconds[0] / (2 * (self.ranks - 1))

    @property
    def bandwidth(self) -> float:
        """Bytes per second that each rank sends, with the most bytes."""
        return 2 * (self.ranks - 1) / self.ranks * self.sizes[-1] / self.seconds[-1]


@dataclass(frozen=True)
class Step:
    """A training step without communication.

    Attributes:
        seconds: its duration.
        buckets: bytes, and seconds from the step's start until they are ready to be sent; in this order.
    """

    seconds: float
    buckets: Sequence[tuple[int, float]]

    @classmethod
    def measured(cls, ranks: Sequence[dict[str, Any]]) -> Step:
        """From the output of Communication on each rank. All started each step together, and the slowest counts."""
        steps = np.array([rank["communication"]["without"] for rank in ranks])
        ready = np.array([[[moment for _, moment in step] for step in rank["buckets"]] for rank in ranks])
        moments = np.median(ready.max(axis=0), axis=0).tolist()
        sizes = [size for size, _ in ranks[0]["buckets"][0]]
        return cls(float(np.median(steps.max(axis=0))), list(zip(sizes, moments, strict=True)))

    def taking(self, seconds: float) -> Step:
        """The same step, computed in a different time."""
        scale = seconds / self.seconds
        return Step(seconds, [(size, ready * scale) for size, ready in self.buckets])

    def over(self, link: Link, ranks: int) -> float:
        """Seconds of the step with gradient exchange over a link."""
        arrived = 0.0
        for size, ready in self.buckets:
            arrived = max(arrived, ready) + link.taking(size, ranks)
        last = self.buckets[-1][1]
        return max(arrived, last) + self.seconds - last
