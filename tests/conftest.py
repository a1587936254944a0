"""Fixtures for all tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_app.launchers.detection import this_launch

# Before torch is imported: the tests share the machine, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Programs that tests start use every core; if those are busy, waiting must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Programs that tests start run the code beside the tests, not an installed package.
REPOSITORY = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))


@pytest.fixture(autouse=True)
def _launch_is_asked_again() -> None:
    """A process asks once what started it; each test may be another process."""
    this_launch.cache_clear()


# Fixtures that start the whole program, a page or a fit: `make quick` skips the tests that use one.
PROCESS_FIXTURES = {
    *("program", "fit", "run_folder", "short", "wheel", "installed", "server", "here", "digits_run", "demo"),
}


@pytest.hookimpl(tryfirst=True)  # before -m is evaluated
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that run the whole program."""
    for item in items:
        if PROCESS_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory with the given options."""
    mounted: list[Path] = []

    def run(options: str) -> Path:
        point = tmp_path / "mounted"
        point.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a file system needs root, with the right to mount")
        mounted.append(point)
        return point

    yield run
    for point in mounted:
        subprocess.run(["umount", str(point)], check=True)


@pytest.fixture
def read_only(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A directory that is not writable; root may write anywhere except to a read-only file system."""
    if os.geteuid() == 0:
        return request.getfixturevalue("mount")("ro")
    (tmp_path / "locked").mkdir(mode=0o555)
    return tmp_path / "locked"
