"""What every test may ask for."""

from __future__ import annotations

import os

# Before torch is imported: the tests share the machine with each other, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The programs that tests start use every core; where those are busy, waiting must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
