"""1, 2, 3 and 4 ranks train the same network and count every test image once, whatever started them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slurm import Slurm

PROGRAM = Path(__file__).with_name("parity_program.py")
TEST_IMAGES = 360
STEPS = 34  # the last with 18 images only
TOLERANCE = 1e-5

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


def run(folder: Path, launcher: Sequence[str], *args: str) -> dict[str, Any]:
    """The results of one training under a launcher."""
    output = folder / "results.json"
    output.unlink(missing_ok=True)
    command = [*launcher, sys.executable, str(PROGRAM), str(output), *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(output.read_text())


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One process: what all the others are held against."""
    return run(tmp_path_factory.mktemp("serial"), [])


def assert_same(found: dict[str, Any], serial: dict[str, Any], launcher: str, world_size: int) -> None:
    """Per-step losses within TOLERANCE, and equal counts."""
    assert (found["launcher"], found["world_size"]) == (launcher, world_size)
    assert found["losses"] == pytest.approx(serial["losses"], abs=TOLERANCE)
    assert found["counted"] == TEST_IMAGES
    assert found["confusion"] == serial["confusion"]


def test_one_process_takes_every_step_and_counts_every_image(serial: dict[str, Any]) -> None:
    assert (serial["launcher"], serial["world_size"]) == ("none", 1)
    assert (len(serial["losses"]), serial["counted"]) == (STEPS, TEST_IMAGES)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_of_mpirun_agree_with_one_process(
    ranks: int, openmpi5: list[str], serial: dict[str, Any], tmp_path: Path
) -> None:
    assert_same(run(tmp_path, [*openmpi5, "-np", str(ranks)]), serial, "openmpi", ranks)


def test_ranks_of_open_mpi_4_agree_with_one_process(
    openmpi4: list[str], serial: dict[str, Any], tmp_path: Path
) -> None:
    assert_same(run(tmp_path, [*openmpi4, "-np", "2"]), serial, "openmpi", 2)


def test_ranks_of_mpich_agree_with_one_process(mpich: list[str], serial: dict[str, Any], tmp_path: Path) -> None:
    assert_same(run(tmp_path, [*mpich, "-np", "2"]), serial, "hydra", 2)


def test_ranks_of_torchrun_agree_with_one_process(serial: dict[str, Any], tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
    assert_same(run(tmp_path, torchrun), serial, "torchrun", 2)


def test_local_processes_agree_with_one_process(serial: dict[str, Any], tmp_path: Path) -> None:
    assert_same(run(tmp_path, [], "2"), serial, "none", 2)


def test_uneven_ranks_of_srun_on_two_nodes_agree_with_one_process(
    slurm: Slurm, serial: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "results.json"
    step = ["srun", "--nodes=2", "--ntasks=3", "--kill-on-bad-exit=1"]
    done = slurm.run(*step, sys.executable, str(PROGRAM), str(output), timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    assert_same(json.loads(output.read_text()), serial, "slurm", 3)
