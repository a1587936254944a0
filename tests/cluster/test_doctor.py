"""Under real launchers: every rank is in the table, the sum is right, and missing ranks are named."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from time_limits import limit

from slurm import Slurm, free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

REPOSITORY = Path(__file__).parents[2]
DOCTOR = [sys.executable, "-m", "lightning_app", "doctor"]
LAUNCHERS = {"openmpi5": "openmpi", "openmpi4": "openmpi", "mpich": "hydra", "torchrun": "torchrun"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]


def environ() -> dict[str, str]:
    """Ours, with this checkout's packages."""
    return dict(os.environ) | {"PYTHONPATH": str(REPOSITORY)}


@pytest.mark.parametrize(("launcher", "name"), LAUNCHERS.items())
def test_both_ranks_are_in_the_report_and_their_sum_is_right(
    launcher: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = TORCHRUN if launcher == "torchrun" else [*request.getfixturevalue(launcher), "-np", "2"]
    command = [*words, *DOCTOR, "--json", "--timeout", str(limit(60))]
    done = subprocess.run(command, env=environ(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert [(rank["launcher"], rank["rank"]) for rank in found["ranks"]] == [(name, 0), (name, 1)]
    assert [(each["backend"], each["right"]) for each in found["reductions"]] == [("gloo", True)]


def test_ranks_that_somebody_set_by_hand_are_in_the_report_too(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [*DOCTOR, "--json"],
            env=environ() | {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for (port,) in [free_ports(1)]
        for rank in ("0", "1")
    ]
    found = json.loads(ranks[0].communicate()[0])
    assert [rank.wait() for rank in ranks] == [0, 0]
    assert [(rank["launcher"], rank["rank"]) for rank in found["ranks"]] == [("env", 0), ("env", 1)]


# A PID namespace for each rank, as a container makes it: neither sees the launcher, nor the other.
CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc"]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="unshare needs root")
@pytest.mark.parametrize(("launcher", "own"), [("openmpi5", []), ("mpich", ["-env", "LIGHTNING_APP_JOB_ID", "mine"])])
def test_ranks_in_containers_of_their_own_meet_by_a_name_that_only_their_job_has(
    launcher: str, own: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = [*request.getfixturevalue(launcher), "-np", "2", *own, *CONTAINER]
    done = subprocess.run([*words, *DOCTOR, "--json"], env=environ(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [rank["rank"] for rank in json.loads(done.stdout)["ranks"]] == [0, 1]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="unshare needs root")
def test_ranks_of_mpich_in_containers_of_their_own_ask_for_a_name(mpich: list[str], tmp_path: Path) -> None:
    words = [*mpich, "-np", "2", *CONTAINER]
    done = subprocess.run([*words, *DOCTOR], env=environ(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Set LIGHTNING_APP_JOB_ID to any word" in done.stdout


@pytest.mark.skipif(not shutil.which("script"), reason="no script: apt-get install bsdutils")
def test_a_mistake_typed_into_the_shell_of_an_interactive_step_leaves_the_shell_alone(slurm: Slurm) -> None:
    typed = f"cd {REPOSITORY}; {shlex.join(DOCTOR[:3])} nonsense\necho still $((40 + 2))\nexit\n"
    step = subprocess.run(
        ["script", "-qec", "srun --ntasks=2 --pty bash --norc", "/dev/null"],
        env=slurm.environ, input=typed, capture_output=True, text=True, timeout=limit(200),
    )  # fmt: skip
    assert "unknown verb nonsense" in step.stdout
    assert "still 42" in step.stdout


def test_uneven_ranks_of_two_nodes_are_shown_with_their_nodes(slurm: Slurm) -> None:
    step = slurm.run(
        "srun", "--nodes=2", "--ntasks=3", "--chdir", str(REPOSITORY), *DOCTOR, "--timeout", str(limit(60))
    )
    assert step.returncode == 0, step.stderr
    rows = [line.split("  ") for line in step.stdout.splitlines() if " of 3" in line.split("  ")[0]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [(row[0], row[2], row[3]) for row in cells] == [
        ("0 of 3", "0", "0 of 2"),
        ("1 of 3", "0", "1 of 2"),
        ("2 of 3", "1", "0 of 1"),
    ]
    assert "world_size from SLURM_STEP_NUM_TASKS=3" in step.stdout
    assert ": right, median" in step.stdout


def test_a_rank_that_does_not_come_is_named_and_the_rest_is_told_all_the_same(slurm: Slurm) -> None:
    seconds = f"{limit(15):.0f}"  # rank 0 imports torch before it listens
    doctor = shlex.join([*DOCTOR, "--timeout", seconds])
    one_sleeps = f"if [ $SLURM_PROCID = 1 ]; then sleep 1500; else exec {doctor}; fi"
    step = slurm.run("srun", "--ntasks=3", "--chdir", str(REPOSITORY), "sh", "-c", one_sleeps, timeout=120)
    assert step.returncode != 0
    assert f"did not report within {seconds} s: rank 1." in step.stdout
    assert "0 of 3" in step.stdout
    assert "rank 2 of 3" in step.stdout
    assert "all-reduce: not tried: the ranks have not met" in step.stdout
