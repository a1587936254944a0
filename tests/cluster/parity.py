"""The output of parity_program.py must not depend on launcher and ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from time_limits import limit

PROGRAM = Path(__file__).with_name("parity_program.py")
TEST_IMAGES = 360
# By case: the optimizer steps of an epoch, the last batch short.
STEPS = {"wide": 34, "narrow": 24, "accumulated": 17}
TOLERANCE = 1e-5


def run(folder: Path, launcher: Sequence[str], *args: str) -> dict[str, Any]:
    """The results of one training under a launcher."""
    output = folder / "results.json"
    command = [*launcher, sys.executable, str(PROGRAM), str(output), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit(240), cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(output.read_text())


def assert_same(found: dict[str, Any], serial: dict[str, Any], launcher: str, world_size: int) -> None:
    """Per-step losses within TOLERANCE, and equal counts."""
    assert found.keys() == serial.keys() == STEPS.keys()
    for name, case in found.items():
        assert (case["launcher"], case["world_size"]) == (launcher, world_size)
        differences = [abs(ours - alone) for ours, alone in zip(case["losses"], serial[name]["losses"], strict=True)]
        print(f"{name}: losses of {launcher} with {world_size} ranks differ by {max(differences):.1e} at most")
        assert max(differences) <= TOLERANCE, differences
        assert case["counted"] == TEST_IMAGES
        assert case["confusion"] == serial[name]["confusion"]
