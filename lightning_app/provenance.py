"""Where a number or a model comes from: the processor and the revision of this code."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, for provenance."""
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def git_revision() -> str | None:
    """The commit of this checkout with a + when it has changes, or None outside of one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    known = [*git, "ls-files", "--error-unmatch", Path(__file__).name]  # else it is whose folder we are installed in
    describe = [*git, "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        subprocess.run(known, capture_output=True, check=True)
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
