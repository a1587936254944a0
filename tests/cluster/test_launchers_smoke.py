"""The launchers of the other tests start, and their processes know their ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from time_limits import limit

from slurm import Slurm

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]  # two SLURMs on one host number their jobs alike

RECORD = Path(__file__).parents[1] / "lightning_app/launchers/record_launch.py"


def recorded(folder: Path) -> list[dict[str, Any]]:
    """What the processes said of themselves, by rank."""
    return [json.loads(path.read_text())["expected"] for path in sorted(folder.glob("rank-*.json"))]


@pytest.mark.parametrize(
    ("fixture", "launcher"), [("openmpi5", "openmpi"), ("openmpi4", "openmpi"), ("mpich", "hydra")]
)
def test_the_ranks_of_mpirun_are_those_it_gave(
    fixture: str, launcher: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    mpirun = request.getfixturevalue(fixture)
    command = [*mpirun, "-np", "2", sys.executable, RECORD, "live", "--to", tmp_path]
    subprocess.run(command, check=True, timeout=limit(240))
    assert [(each["launcher"], each["global_rank"], each["world_size"]) for each in recorded(tmp_path)] == [
        (launcher, 0, 2),
        (launcher, 1, 2),
    ]


def test_the_ranks_of_srun_are_those_it_gave(slurm: Slurm, tmp_path: Path) -> None:
    step = slurm.run("srun", "--nodes=2", "--ntasks=3", sys.executable, str(RECORD), "live", "--to", str(tmp_path))
    assert step.returncode == 0, step.stderr
    found = [(each["global_rank"], each["node_rank"], each["local_world_size"]) for each in recorded(tmp_path)]
    assert found == [(0, 0, 2), (1, 0, 2), (2, 1, 1)]


def test_the_script_of_sbatch_is_one_process(slurm: Slurm, tmp_path: Path) -> None:
    script = f"'{sys.executable}' '{RECORD}' live --to '{tmp_path}'"
    job = slurm.run("sbatch", "--wait", "--ntasks=8", "--output=/dev/null", f"--wrap={script}")
    assert job.returncode == 0, job.stderr
    assert [(each["launcher"], each["world_size"]) for each in recorded(tmp_path)] == [("none", 1)]
