"""From one flag and a machine to strategy, devices, precision and threads."""

from __future__ import annotations

import pytest

from lightning_app.errors import UsageError
from lightning_app.machine import Machine
from lightning_app.plan import StrategyName, plan_run

OLD_CPU = Machine(cores=4, cpu_bf16=False)
NEW_CPU = Machine(cores=8, cpu_bf16=True)
ONE_GPU = Machine(cores=8, cpu_bf16=True, gpus=("A100",), gpu_bf16=True)
FOUR_GPUS = Machine(cores=8, cpu_bf16=False, gpus=("H100",) * 4, gpu_bf16=True)
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
    plan = plan_run(strategy, devices, None, machine)
    assert (plan.strategy, plan.accelerator, plan.devices, plan.precision, plan.threads) == expected


@pytest.mark.parametrize("machine", [OLD_CPU, NEW_CPU, ONE_GPU, TWO_V100])
def test_a_precision_that_is_asked_for_is_used(machine: Machine) -> None:
    assert plan_run("auto", None, "64-true", machine).precision == "64-true"


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
        plan_run(strategy, devices, None, machine)


def test_one_gpu_is_too_few_for_two_processes_whatever_the_flag() -> None:
    for strategy in ("auto", "ddp"):
        with pytest.raises(UsageError, match=r"--trainer\.devices is 2"):
            plan_run(strategy, 2, None, ONE_GPU)  # type: ignore[arg-type]  # mypy takes the loop's values for str


def test_every_choice_comes_with_its_reason() -> None:
    assert plan_run("auto", None, None, TWO_V100).reasons == (
        "strategy: ddp (2 GPUs are visible)",
        "devices: 2 (one process per visible GPU)",
        "precision: 16-mixed (the GPU has fp16, no bf16)",
        "threads: 20 a process (40 usable cores, 2 processes)",
    )
    assert plan_run("cpu", None, "32-true", NEW_CPU).reasons == (
        "strategy: cpu (asked for)",
        "devices: 1 (cpu is one process)",
        "precision: 32-true (asked for)",
        "threads: 8 a process (8 usable cores, 1 process)",
    )
