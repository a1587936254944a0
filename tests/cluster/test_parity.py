"""1, 2, 3 and 4 ranks train the same network and count every test image once, whatever started them.

CI runs a diagonal: each launcher once, and each number of ranks. `make soak` runs them all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from parity import PROGRAM, STEPS, TEST_IMAGES, assert_same, run

from slurm import Slurm

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

CI = {("openmpi5", 4), ("mpich", 2)}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node"]


def ranks_of(in_ci: Iterable[int] = (), all_ranks: Iterable[int] = (1, 2, 3, 4)) -> list[Any]:
    """Numbers of ranks, those that are not for CI marked so."""
    return [pytest.param(ranks, marks=() if ranks in in_ci else pytest.mark.soak) for ranks in all_ranks]


MPI = [
    pytest.param(kind, ranks, marks=() if (kind, ranks) in CI else pytest.mark.soak)
    for kind in ("openmpi5", "openmpi4", "mpich")
    for ranks in (1, 2, 3, 4)
]


def test_one_process_takes_every_step_and_counts_every_image(serial: dict[str, Any]) -> None:
    for name, case in serial.items():
        assert (case["launcher"], case["world_size"]) == ("none", 1)
        assert (len(case["losses"]), case["counted"]) == (STEPS[name], TEST_IMAGES)


@pytest.mark.parametrize(("kind", "ranks"), MPI)
def test_ranks_of_mpirun_agree_with_one_process(
    kind: str, ranks: int, serial: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    launcher = "hydra" if kind == "mpich" else "openmpi"
    assert_same(run(tmp_path, [*request.getfixturevalue(kind), "-np", str(ranks)]), serial, launcher, ranks)


@pytest.mark.parametrize("ranks", ranks_of(in_ci={3}))
def test_ranks_of_torchrun_agree_with_one_process(ranks: int, serial: dict[str, Any], tmp_path: Path) -> None:
    assert_same(run(tmp_path, [*TORCHRUN, str(ranks)]), serial, "torchrun", ranks)


@pytest.mark.parametrize("ranks", ranks_of(in_ci={2}, all_ranks=(2, 3, 4)))
def test_local_processes_agree_with_one_process(ranks: int, serial: dict[str, Any], tmp_path: Path) -> None:
    assert_same(run(tmp_path, [], str(ranks)), serial, "none", ranks)


@pytest.mark.parametrize("ranks", ranks_of(in_ci={3}, all_ranks=(2, 3, 4)))
def test_tasks_of_srun_on_two_nodes_agree_with_one_process(
    ranks: int, slurm: Slurm, serial: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "results.json"
    step = ["srun", "--nodes=2", f"--ntasks={ranks}", "--kill-on-bad-exit=1"]
    done = slurm.run(*step, sys.executable, str(PROGRAM), str(output), timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    assert_same(json.loads(output.read_text()), serial, "slurm", ranks)
