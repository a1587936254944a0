"""How many cores other work kept busy during a run, which a comparison on a shared machine has to admit."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

# The columns of /proc/stat's first line that count as work (proc(5)): user, nice, system, irq, softirq, steal.
BUSY = (1, 2, 3, 6, 7, 8)


@dataclass(frozen=True)
class Clock:
    """A moment: seconds now, seconds that all cores have worked, and those of our exited children."""

    now: float
    busy: float
    ours: float

    def other_cores_since(self, before: Clock) -> float:
        """Mean number of cores that did other work; of our own work, only exited children are known."""
        busy = self.busy - before.busy - (self.ours - before.ours)
        return max(0.0, busy / (self.now - before.now))


def read_clock(stat: Path = Path("/proc/stat")) -> Clock | None:
    """None if the kernel does not report it (macOS)."""
    if not stat.exists():
        return None
    columns = stat.read_text().split("\n", 1)[0].split()
    busy = sum(int(columns[index]) for index in BUSY) / os.sysconf("SC_CLK_TCK")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Clock(time.monotonic(), busy, children.ru_utime + children.ru_stime)
