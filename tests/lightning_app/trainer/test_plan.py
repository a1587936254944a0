"""From one flag and a machine to strategy, devices, precision and threads."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.trainer.machine import Machine
from lightning_app.trainer.plan import StrategyName, plan_run

OLD_CPU = Machine(cores=4, cpu_bf16=False)
NEW_CPU = Machine(cores=8, cpu_bf16=True)
ONE_GPU = Machine(cores=8, cpu_bf16=True, gpus=("A100",), gpu_bf16=True)
FOUR_GPUS = Machine(cores=8, cpu_bf16=False, gpus=("H100",) * 4, gpu_bf16=True)
ALONE = Launch("none", 1, 0, 0, 1, 0, 1)
TWO_V100 = Machine(cores=40, cpu_bf16=False, gpus=("V100",) * 2, gpu_bf16=False)


@pytest.mark.parametrize(
    ("machine", "strategy", "devices", "expected"),
    [
        (OLD_CPU, "auto", None, ("cpu", "cpu", 1, "32-true", 4)),
        (NEW_CPU, "auto", None, ("cpu", "cpu", 1, "bf16-mixed", 8)),
        (NEW_CPU, "auto", 1, ("cpu", "cpu", 1, "bf16-mixed", 8)),
        (NEW_CPU, "auto", 2, ("ddp", "cpu", 2, "bf16-mixed", 4)),
        (NEW_CPU, "cpu", None, ("cpu", "cpu", 1, "bf16-mixed", 8)),
        (NEW_CPU, "ddp", 3, ("ddp", "cpu", 3, "bf16-mixed", 2)),
        (OLD_CPU, "ddp", 16, ("ddp", "cpu", 16, "32-true", 1)),
        (ONE_GPU, "auto", None, ("gpu", "cuda", 1, "bf16-mixed", 8)),
        (ONE_GPU, "gpu", None, ("gpu", "cuda", 1, "bf16-mixed", 8)),
        (ONE_GPU, "cpu", None, ("cpu", "cpu", 1, "bf16-mixed", 8)),
        (ONE_GPU, "ddp", None, ("ddp", "cuda", 1, "bf16-mixed", 8)),
        (FOUR_GPUS, "auto", None, ("ddp", "cuda", 4, "bf16-mixed", 2)),
        (FOUR_GPUS, "auto", 1, ("gpu", "cuda", 1, "bf16-mixed", 8)),
        (FOUR_GPUS, "auto", 2, ("ddp", "cuda", 2, "bf16-mixed", 4)),
        (FOUR_GPUS, "gpu", None, ("gpu", "cuda", 1, "bf16-mixed", 8)),
        (FOUR_GPUS, "cpu", None, ("cpu", "cpu", 1, "32-true", 8)),
        (FOUR_GPUS, "ddp", None, ("ddp", "cuda", 4, "bf16-mixed", 2)),
        (FOUR_GPUS, "ddp", 3, ("ddp", "cuda", 3, "bf16-mixed", 2)),
        (TWO_V100, "auto", None, ("ddp", "cuda", 2, "16-mixed", 20)),
        (TWO_V100, "gpu", 1, ("gpu", "cuda", 1, "16-mixed", 40)),
    ],
)
def test_a_flag_and_a_machine_make_a_plan(
    machine: Machine, strategy: StrategyName, devices: int | None, expected: tuple[str, str, int, str, int]
) -> None:
    plan = plan_run(strategy, devices, None, machine, ALONE)
    assert (plan.strategy, plan.accelerator, plan.devices, plan.precision, plan.threads) == expected


def test_a_plan_has_this_process_s_device_and_the_backend_that_belongs_to_it() -> None:
    cpu = plan_run("ddp", 2, None, NEW_CPU, ALONE)
    assert (cpu.device, cpu.backend) == (torch.device("cpu"), "gloo")
    second = plan_run("ddp", None, None, FOUR_GPUS, Launch("torchrun", 4, 1, 1, 4, 0, 1))
    assert (second.device, second.backend) == (torch.device("cuda", 1), "nccl")


@pytest.mark.parametrize("machine", [OLD_CPU, NEW_CPU, ONE_GPU, TWO_V100])
def test_a_precision_that_is_asked_for_is_used(machine: Machine) -> None:
    assert plan_run("auto", None, "64-true", machine, ALONE).precision == "64-true"


@pytest.mark.parametrize(
    ("machine", "strategy", "devices", "message"),
    [
        (NEW_CPU, "gpu", None, "--trainer.strategy gpu: found no GPU .* Use --trainer.strategy cpu"),
        (NEW_CPU, "cpu", 2, "cpu is one process, but --trainer.devices is 2; use --trainer.strategy ddp for 2"),
        (FOUR_GPUS, "gpu", 4, "gpu is one process, but --trainer.devices is 4; use --trainer.strategy ddp for 4"),
        (NEW_CPU, "ddp", None, "ddp without a GPU needs a number of processes: add --trainer.devices 2"),
        (FOUR_GPUS, "ddp", 5, "--trainer.devices is 5, but 4 GPUs are visible"),
        (FOUR_GPUS, "auto", 5, "--trainer.devices is 5, but 4 GPUs are visible"),
        (NEW_CPU, "auto", 0, "--trainer.devices is 0; expected 1 or more"),
        (NEW_CPU, "ddp", 0, "--trainer.devices is 0; expected 1 or more"),
        (FOUR_GPUS, "auto", -1, "--trainer.devices is -1; expected 1 or more"),
    ],
)
def test_wishes_that_contradict_the_machine_are_refused_with_the_way_out(
    machine: Machine, strategy: StrategyName, devices: int | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_run(strategy, devices, None, machine, ALONE)


def test_one_gpu_is_too_few_for_two_processes_whatever_the_flag() -> None:
    for strategy in ("auto", "ddp"):
        with pytest.raises(UsageError, match=r"--trainer\.devices is 2"):
            plan_run(strategy, 2, None, ONE_GPU, ALONE)


def test_every_choice_comes_with_its_reason() -> None:
    assert plan_run("auto", None, None, TWO_V100, ALONE).reasons == (
        "strategy: ddp (2 GPUs are visible)",
        "devices: 2 on this node (one process per visible GPU)",
        "precision: 16-mixed (the GPU has fp16 but no bf16)",
        "threads: 20 per process (40 usable cores for 2 processes)",
    )
    assert plan_run("cpu", None, "32-true", NEW_CPU, ALONE).reasons == (
        "strategy: cpu (asked for)",
        "devices: 1 on this node (cpu is one process)",
        "precision: 32-true (asked for)",
        "threads: 8 per process (8 usable cores for 1 process)",
    )


def ranks(launcher: str, on_this_node: int, local_rank: int = 0, nodes: int = 1) -> Launch:
    """One rank of several that a launcher started, as many on each node."""
    return Launch(launcher, on_this_node * nodes, local_rank, local_rank, on_this_node, 0, nodes)


def own_gpus(launcher: str, on_this_node: int, local_rank: int) -> Launch:
    """A rank whose GPUs were chosen for it."""
    return dataclasses.replace(ranks(launcher, on_this_node, local_rank), own_gpus=True)


SHARED = dataclasses.replace(ONE_GPU, slurm_gpus=1)
SECOND_OF_SECOND_NODE = Launch("openmpi", 6, 4, 1, 3, 1, 2)


@pytest.mark.parametrize(
    ("machine", "launch", "expected"),
    [
        pytest.param(NEW_CPU, ranks("openmpi", 4), ("ddp", "cpu", 4, None, 2), id="mpirun on a CPU"),
        pytest.param(FOUR_GPUS, ranks("openmpi", 4, 3), ("ddp", "cuda", 4, 3, 2), id="mpirun, a GPU per rank"),
        pytest.param(FOUR_GPUS, ranks("torchrun", 2, 1), ("ddp", "cuda", 2, 1, 4), id="fewer ranks than GPUs"),
        pytest.param(FOUR_GPUS, ranks("slurm", 1, 0, nodes=2), ("ddp", "cuda", 1, 0, 8), id="a rank per node"),
        pytest.param(ONE_GPU, own_gpus("slurm", 4, 3), ("ddp", "cuda", 4, 0, 2), id="SLURM bound one GPU to each rank"),
        pytest.param(ONE_GPU, own_gpus("openmpi", 4, 3), ("ddp", "cuda", 4, 0, 2), id="a wrapper chose one GPU"),
        pytest.param(TWO_V100, own_gpus("hydra", 4, 3), ("ddp", "cuda", 4, 1, 10), id="a wrapper chose two of four"),
        pytest.param(FOUR_GPUS, SECOND_OF_SECOND_NODE, ("ddp", "cuda", 3, 1, 2), id="a GPU by rank on its node"),
        pytest.param(FOUR_GPUS, ranks("openmpi", 1), ("ddp", "cuda", 4, 0, 2), id="one rank is no job"),
        pytest.param(NEW_CPU, ranks("slurm", 1), ("cpu", "cpu", 1, None, 8), id="one rank on a CPU"),
    ],
)
def test_ranks_of_a_launcher_make_a_plan(
    machine: Machine, launch: Launch, expected: tuple[str, str, int, int | None, int]
) -> None:
    plan = plan_run("auto", None, None, machine, launch)
    assert (plan.strategy, plan.accelerator, plan.devices, plan.gpu, plan.threads) == expected


@pytest.mark.parametrize(
    ("strategy", "devices", "machine", "launch", "message"),
    [
        ("cpu", None, NEW_CPU, ranks("openmpi", 4), "cpu is one process, but openmpi started 4 ranks"),
        ("gpu", None, FOUR_GPUS, ranks("slurm", 4), "gpu is one process, but slurm started 4 ranks"),
        ("ddp", 2, NEW_CPU, ranks("hydra", 4), "devices is 2, but hydra started 4 ranks on this node"),
        ("auto", None, FOUR_GPUS, ranks("openmpi", 8), "openmpi started 8 ranks on this node, but 4 GPUs are visible"),
        ("auto", None, ONE_GPU, ranks("openmpi", 2), "openmpi started 2 ranks on this node, but 1 GPUs are visible"),
        ("auto", None, ONE_GPU, ranks("slurm", 2), "slurm started 2 ranks on this node, but 1 GPUs are visible"),
        ("auto", None, SHARED, own_gpus("slurm", 4, 3), "slurm started 4 ranks on this node, but SLURM gave it 1 GPUs"),
    ],
)
def test_wishes_that_contradict_the_launcher_are_refused_with_both_numbers(
    strategy: StrategyName, devices: int | None, machine: Machine, launch: Launch, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_run(strategy, devices, None, machine, launch)


def test_cores_that_the_launcher_bound_to_a_rank_are_not_shared_out_again() -> None:
    bound = Machine(cores=3, cpu_bf16=False, bound=True)
    assert plan_run("auto", None, None, bound, ranks("openmpi", 4)).threads == 3


def test_cores_that_taskset_left_are_shared_out_among_the_ranks_we_start() -> None:
    bound = Machine(cores=4, cpu_bf16=False, bound=True)
    assert plan_run("ddp", 2, None, bound, ALONE).threads == 2


def test_one_task_is_a_process_of_its_own_and_may_start_others() -> None:
    assert plan_run("auto", 2, None, NEW_CPU, ranks("slurm", 1)).devices == 2
    assert plan_run("gpu", None, None, FOUR_GPUS, ranks("torchrun", 1)).devices == 1


@pytest.mark.parametrize(
    ("machine", "launch", "warning"),
    [
        (FOUR_GPUS, ranks("env", 1, nodes=2), "env started 1 rank on this node, which has 4 visible GPUs: 3 of them"),
        (FOUR_GPUS, ranks("torchrun", 3), "torchrun started 3 ranks on this node, which has 4 visible GPUs: 1 of them"),
        (dataclasses.replace(NEW_CPU, slurm_gpus=2), ranks("slurm", 1), "SLURM gave this job 2 GPUs on this node, but"),
        (NEW_CPU, dataclasses.replace(ALONE, warning="this is one process, but"), "this is one process, but"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(machine: Machine, launch: Launch, warning: str) -> None:
    (found,) = plan_run("auto", None, None, machine, launch).warnings
    assert found.startswith(warning)


def test_what_was_asked_for_is_no_reason_to_warn() -> None:
    hidden = dataclasses.replace(NEW_CPU, slurm_gpus=2)
    assert plan_run("cpu", None, None, hidden, ranks("slurm", 1)).warnings == ()
    assert plan_run("auto", None, None, FOUR_GPUS, ranks("openmpi", 4)).warnings == ()
    assert plan_run("gpu", None, None, FOUR_GPUS, ALONE).warnings == ()
    assert plan_run("auto", None, None, ONE_GPU, own_gpus("openmpi", 4, 1)).warnings == ()
