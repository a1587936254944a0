"""How long things may take here, for tests that start whole programs."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import cache

IDLE_IMPORT_SECONDS = 5.0  # with warm caches, on the machine that docs/launchers.md was measured on


@cache
def slowness() -> float:
    """How many times longer than on an idle machine things take here now, by what a rank imports; at least 1."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import lightning.pytorch, torchvision"], check=True, timeout=600)
    return max(1.0, (time.monotonic() - started) / IDLE_IMPORT_SECONDS)


def limit(seconds: float) -> float:
    """What takes at most so long on an idle machine, here."""
    return seconds * slowness()
