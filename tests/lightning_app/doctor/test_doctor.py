"""Each problem is found in the facts, and none if there is none."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_app.__main__ import main
from lightning_app.doctor import rank_facts as module
from lightning_app.doctor.host import file_system, memory_limits
from lightning_app.doctor.problems import problems, runs_on
from lightning_app.doctor.rank_facts import Facts, rank_facts, to_facts
from lightning_app.doctor.rendering import row, table
from lightning_app.provenance import GPU
from lightning_app.trainer.machine import Machine

REPOSITORY = Path(__file__).parents[3]
Program = Callable[..., subprocess.CompletedProcess[str]]
H100 = GPU("NVIDIA H100", "GPU-1", "sm_90", 80.0)
OTHER = dataclasses.replace(H100, uuid="GPU-2")
ARCHS = ["sm_75", "sm_80", "sm_90", "compute_120"]


def healthy(rank: int = 0, world_size: int = 2, **changes: object) -> Facts:
    """A rank in a job without problems."""
    facts = Facts(
        rank=rank,
        world_size=world_size,
        local_rank=rank,
        local_world_size=world_size,
        node_rank=0,
        num_nodes=1,
        launcher="openmpi",
        reason="the nearest launcher is mpirun",
        sources={},
        variables={},
        host="node1",
        pid=100 + rank,
        cores=8,
        host_cores=8,
        bound=False,
        gpus=[],
        gpu=None,
        device="cpu",
        precision="32-true",
        threads=4,
        refused="",
        versions={
            "python": "3.11.7",
            "laptop-to-cluster": "0.1.0",
            "torch": "2.14.1",
            "torchvision": "0.29.1",
            "lightning": "2.6.6",
            "nccl": "none",
            "mpi library": "Open MPI v5.0.11",
            "cuda": "13.0",
        },
        cuda_archs=[],
        nvidia_driver="",
        shm_mib=8000,
        memory_gib=64.0,
        own_address="10.0.0.1",
        packed=["cifar10-0"],
        runs_file_system="ext4",
    )
    return dataclasses.replace(facts, **changes)  # type: ignore[arg-type]  # names of Facts


def pair(**changes: object) -> list[Facts]:
    """Two ranks of one host with the same changes."""
    return [healthy(0, **changes), healthy(1, **changes)]


def on_gpus(*gpus: GPU, **changes: object) -> list[Facts]:
    """One rank per GPU, which sees only that GPU."""
    return [
        healthy(rank, len(gpus), gpus=[gpu], gpu=0, device=f"cuda:0 {gpu.name}", cuda_archs=ARCHS, **changes)
        for rank, gpu in enumerate(gpus)
    ]


def test_where_all_is_well_nothing_is_found() -> None:
    assert problems(pair()) == []
    assert problems(on_gpus(H100, OTHER)) == []


@pytest.mark.parametrize(
    ("ranks", "beginning"),
    [
        (pair(cores=1), "2 ranks share 1 usable cores of node1"),
        (pair(cores=1, bound=True), "each rank on node1 is bound to one of 8 cores: mpirun --bind-to none"),
        (on_gpus(H100, H100), "ranks 0, 1 share one GPU of node1"),
        ([healthy(0), *on_gpus(H100, OTHER)[1:]], "ranks 0 (on node1) see no GPU while others do"),
        (on_gpus(dataclasses.replace(H100, capability="sm_70")), "NVIDIA H100 on node1 is sm_70, but torch 2.14.1"),
        (
            pair(nvidia_driver="550.54"),
            "node1 has an NVIDIA driver (550.54), but torch 2.14.1 sees no GPU",
        ),
        (on_gpus(H100, OTHER, shm_mib=64), "/dev/shm on node1 has 64 MiB left"),
        (pair(refused="8 ranks, 4 GPUs"), "rank 0 on node1 would not run: 8 ranks, 4 GPUs"),
        (pair(packed=[]), "no packed data on node1"),
        (pair(runs_file_system="nfs4"), "runs/ is on nfs4"),
        (pair(num_nodes=None, versions=healthy().versions | {"mpi library": "none: not installed"}), "mpi4py on node1"),
        (
            [healthy(), healthy(1, host="node2", versions=healthy().versions | {"torch": "2.12.0"})],
            "torch differs: 2.14.1 on node1; 2.12.0 on node2",
        ),
        (
            [healthy(0, 1, launcher="none", variables={"SLURM_NTASKS": "8"})],
            "this is one process, but the SLURM job has 8 tasks: put srun",
        ),
    ],
)
def test_what_would_go_wrong_is_named_first(ranks: list[Facts], beginning: str) -> None:
    assert problems(ranks)[0].startswith(beginning)


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        ("sm_70", ["sm_75", "sm_80", "compute_90"], False),
        ("sm_86", ["sm_80"], True),
        ("sm_90", ["sm_80"], False),
        ("sm_90", ["sm_80", "compute_80"], True),
        ("sm_120", ["sm_90a", "sm_120"], True),
    ],
)
def test_a_gpu_runs_code_of_its_own_generation_or_compiles_older_code(
    capability: str, archs: list[str], runs: bool
) -> None:
    assert runs_on(capability, archs) == runs


def test_a_folder_that_is_not_there_yet_lies_where_its_parent_does(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\nproc /proc proc rw 0 0\n")
    assert file_system(tmp_path / "runs", mounts) == "nfs4"
    assert file_system(Path("/elsewhere"), mounts) == "ext4"


def test_facts_survive_the_way_to_rank_zero(tmp_path: Path) -> None:
    facts = dataclasses.replace(rank_facts(tmp_path, tmp_path), gpus=[H100])
    assert to_facts(json.loads(json.dumps(dataclasses.asdict(facts)))) == facts


def test_variables_that_may_hold_secrets_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush")
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    variables = rank_facts(tmp_path, tmp_path).variables
    assert variables["NCCL_DEBUG"] == "INFO"
    assert "WANDB_API_KEY" not in variables


def test_the_table_has_a_row_for_each_rank() -> None:
    assert [line.split("  ")[0].strip() for line in table(pair()).splitlines()] == ["rank", "0 of 2", "1 of 2"]


@pytest.mark.parametrize(("bound", "cores"), [(False, "2 of 8"), (True, "2 of 8, bound")])
def test_a_row_says_where_a_rank_is_and_what_it_may_use(bound: bool, cores: str) -> None:
    rank = healthy(1, 3, node_rank=None, cores=2, bound=bound, precision="")
    assert row(rank) == ("1 of 3", "node1", "?", "1 of 3", "cpu", cores, "4", "none")


def test_the_device_of_a_rank_is_the_gpu_that_a_fit_would_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(cores=4, cpu_bf16=False, gpus=(H100.name,), gpu_bf16=True)
    monkeypatch.setattr(module, "this_machine", lambda: machine)
    monkeypatch.setattr(module, "visible_gpus", lambda: [H100])
    found = rank_facts(tmp_path, tmp_path)
    assert (found.gpu, found.device, found.gpus) == (0, "cuda:0 NVIDIA H100", [H100])


def test_alone_it_says_what_this_process_is_and_that_nothing_was_added(program: Program) -> None:
    done = program("doctor")
    assert done.returncode == 0, done.stderr
    assert "0 of 1" in done.stdout
    assert "launcher: none" in done.stdout
    assert "all-reduce: not tried with one process" in done.stdout


def test_as_json_it_holds_all_facts(program: Program) -> None:
    found = json.loads(program("doctor", "--json").stdout)
    assert to_facts(found["ranks"][0]).world_size == 1
    assert found["reductions"] == []


def test_what_libraries_print_is_kept_apart_from_the_report() -> None:
    code = (
        "import os; from lightning_app.doctor.command import keep_stdout_for_the_report; keep_stdout_for_the_report(); "
        "os.write(1, b'[Gloo] Rank 0 is connected'); print('the report', flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("the report\n", "[Gloo] Rank 0 is connected")


def test_asking_for_the_mpi_library_leaves_mpi_out_of_this_process() -> None:
    imports = "import sys; from lightning_app.provenance import mpi_library"
    code = f"{imports}; mpi_library(); print('mpi4py' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert asked.stdout == "False\n"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"LIGHTNING_APP_LAUNCHER": "mpi"}, "LIGHTNING_APP_LAUNCHER"),
        ({"LIGHTNING_APP_LAUNCHER": "openmpi", "OMPI_COMM_WORLD_RANK": "5"}, "OMPI_COMM_WORLD_SIZE"),
    ],
    ids=["unknown", "half"],
)
def test_variables_that_a_fit_would_refuse_are_what_goes_wrong(
    variables: dict[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="1"):
        main(["doctor"])
    assert said in capsys.readouterr().out.partition("Problems:")[2]


def test_the_memory_is_the_least_limit_of_the_groups_that_a_job_is_in(tmp_path: Path) -> None:
    (tmp_path / "slurm/job_7/step_0").mkdir(parents=True)
    (tmp_path / "slurm/job_7/memory.max").write_text("4000\n")
    (tmp_path / "slurm/job_7/step_0/memory.max").write_text("max\n")
    (tmp_path / "slurm/memory.max").write_text("9000\n")
    (tmp_path / "memory/old").mkdir(parents=True)
    (tmp_path / "memory/old/memory.limit_in_bytes").write_text("5000\n")
    own = tmp_path / "own"
    own.write_text("9:memory:/old\n3:cpu,cpuacct:/slurm\n0::/slurm/job_7/step_0\n")
    assert sorted(memory_limits(own, tmp_path)) == [4000, 5000, 9000]


@pytest.mark.parametrize(
    ("launcher", "variables", "advice"),
    [
        ("openmpi", {}, "mpirun --bind-to none, or --map-by slot:PE=4."),
        ("hydra", {}, "mpiexec -bind-to none, or -bind-to core:4."),
        ("hydra", {"I_MPI_PIN_INFO": "1"}, "mpirun -genv I_MPI_PIN 0, or -genv I_MPI_PIN_DOMAIN 4."),
        ("slurm", {}, "srun --cpus-per-task=4, or --cpu-bind=none."),
        ("flux", {}, "flux run --cores-per-task=4, or -o cpu-affinity=off."),
        ("torchrun", {}, "let each rank use 4 cores (taskset, cgroup)."),
    ],
)
def test_each_launcher_has_its_own_words_for_more_cores(launcher: str, variables: dict[str, str], advice: str) -> None:
    ranks = pair(cores=1, bound=True, launcher=launcher, variables=variables)
    assert problems(ranks) == [f"each rank on node1 is bound to one of 8 cores: {advice}"]


def test_what_decides_about_gpus_is_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS"):
        monkeypatch.setenv(name, "1")
        assert rank_facts(tmp_path, tmp_path).variables[name] == "1"
