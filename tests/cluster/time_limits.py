"""How long things may take here, for tests that start whole programs."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import cache

IDLE_IMPORT_SECONDS = 5.0  # with warm caches, on the machine used for docs/launchers.md


@cache
def slowness() -> float:
    """How many times longer than on an idle machine things take here now, from a rank's imports; at least 1."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import lightning.pytorch, torchvision"], check=True, timeout=600)
    return max(1.0, (time.monotonic() - started) / IDLE_IMPORT_SECONDS)


def limit(seconds: float) -> float:
    """The time here for something that takes at most this long on an idle machine."""
    return seconds * slowness()
