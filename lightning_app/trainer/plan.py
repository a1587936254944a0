"""From one flag and the launcher to everything a Trainer needs: strategy, devices, precision, threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.trainer.machine import Machine
from lightning_app.trainer.threads import choose_threads

if TYPE_CHECKING:
    import torch

StrategyName = Literal["auto", "cpu", "gpu", "ddp"]
Chosen = Literal["cpu", "gpu", "ddp"]


@dataclass(frozen=True)
class Plan:
    """How a run is laid out.

    Attributes:
        strategy: cpu, gpu or ddp.
        accelerator: Lightning's name for the device type.
        devices: processes on this node, one device each.
        gpu: the index of this process's GPU, if it has one.
        precision: Lightning's name for the arithmetic.
        threads: torch's, per process.
        reasons: one line for each choice, with its reason.
        warnings: what is probably unintended.
    """

    strategy: Chosen
    accelerator: Literal["cpu", "cuda"]
    devices: int
    gpu: int | None
    precision: str
    threads: int
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """Of this process."""
        import torch

        return torch.device("cpu") if self.gpu is None else torch.device("cuda", self.gpu)

    @property
    def backend(self) -> str:
        """Of a process group: nccl on GPUs, gloo on CPUs."""
        return "nccl" if self.accelerator == "cuda" else "gloo"


def plan_run(
    strategy: StrategyName, devices: int | None, precision: str | None, machine: Machine, launch: Launch
) -> Plan:
    """Lay out a run; the number of devices (per node) and the precision are chosen if they are None.

    Raises:
        UsageError: the options contradict each other, the launcher or the machine.
    """
    if launch.external:
        chosen, why = under_launcher(strategy, launch)
        count, why_devices = launched_devices(devices, machine, launch)
    else:
        chosen, why = choose_strategy(strategy, devices, machine)
        count, why_devices = choose_devices(chosen, devices, machine)
    on_gpu = chosen != "cpu" and bool(machine.gpus)
    precise, why_precision = (precision, "asked for") if precision else choose_precision(on_gpu, machine)
    threads, why_threads = choose_threads(count, machine, launch.external)
    reasons = (
        f"strategy: {chosen} ({why})",
        f"devices: {count} on this node ({why_devices})",
        f"precision: {precise} ({why_precision})",
        f"threads: {threads} per process ({why_threads})",
    )
    gpu = launch.local_rank % len(machine.gpus) if on_gpu else None
    warnings = tuple(filter(None, (launch.warning, hidden_gpus(strategy, machine), idle_gpus(machine, launch))))
    return Plan(chosen, "cuda" if on_gpu else "cpu", count, gpu, precise, threads, reasons, warnings)


def under_launcher(strategy: StrategyName, launch: Launch) -> tuple[Chosen, str]:
    """If something else started several ranks, the strategy can only be ddp."""
    if strategy not in ("auto", "ddp"):
        raise UsageError(
            f"--trainer.strategy {strategy} is one process, but {launch.launcher} started {launch.world_size} ranks. "
            "Use --trainer.strategy ddp for one run over all ranks, or start one rank."
        )
    return "ddp", f"{launch.launcher} started {launch.world_size} ranks"


def launched_devices(devices: int | None, machine: Machine, launch: Launch) -> tuple[int, str]:
    """One device per rank that the launcher put on this node."""
    here = launch.local_world_size
    if devices is not None and devices != here:
        raise UsageError(
            f"--trainer.devices is {devices}, but {launch.launcher} started {here} ranks on this node. Leave "
            f"--trainer.devices out, or start {devices} ranks per node."
        )
    # Other ranks need not see this rank's GPUs: only SLURM knows how many there are in total.
    gpus = machine.slurm_gpus or here if launch.own_gpus else len(machine.gpus)
    if machine.gpus and gpus < here:
        found = f"SLURM gave it {gpus} GPUs" if launch.own_gpus else f"{gpus} GPUs are visible"
        raise UsageError(
            f"{launch.launcher} started {here} ranks on this node, but {found}. Start "
            f"{gpus} ranks per node, or set CUDA_VISIBLE_DEVICES= to train on the CPU."
        )
    return here, f"as many as {launch.launcher} started here"


def hidden_gpus(strategy: StrategyName, machine: Machine) -> str:
    """The warning for a job that asked for GPUs when torch sees none."""
    if machine.gpus or not machine.slurm_gpus or strategy == "cpu":
        return ""
    return (
        f"SLURM gave this job {machine.slurm_gpus} GPUs on this node, but torch sees none of them: training runs on "
        "the CPU. `python -m lightning_app doctor` says what is wrong; if a CPU is intended, add --trainer.strategy "
        "cpu."
    )


def idle_gpus(machine: Machine, launch: Launch) -> str:
    """The warning for ranks that leave GPUs of their node unused."""
    seen, here = len(machine.gpus), launch.local_world_size
    if not launch.external or seen <= here:
        return ""
    return (
        f"{launch.launcher} started {here} rank{'s' if here > 1 else ''} on this node, which has {seen} visible GPUs: "
        f"{seen - here} of them stay idle. Start {seen} ranks per node to use them."
    )


def choose_strategy(strategy: StrategyName, devices: int | None, machine: Machine) -> tuple[Chosen, str]:
    """Resolve `auto`, and check that other values are possible."""
    if strategy == "auto":
        if not machine.gpus:
            return ("ddp", f"devices={devices}") if devices and devices > 1 else ("cpu", "no GPU is visible")
        if len(machine.gpus) == 1 or devices == 1:
            return "gpu", f"{machine.gpus[0]} is visible"
        return "ddp", f"{len(machine.gpus)} GPUs are visible"
    if strategy == "gpu" and not machine.gpus:
        raise UsageError(
            "--trainer.strategy gpu: found no GPU that this PyTorch can use (torch.cuda.device_count() is 0). "
            "Use --trainer.strategy cpu; or on a GPU machine, check nvidia-smi and CUDA_VISIBLE_DEVICES, and that "
            "PyTorch is a CUDA build for its driver."
        )
    return strategy, "asked for"


def choose_devices(strategy: Chosen, devices: int | None, machine: Machine) -> tuple[int, str]:
    """How many processes this node gets, when we start them ourselves."""
    if devices is not None and devices < 1:
        raise UsageError(f"--trainer.devices is {devices}; expected 1 or more, auto or -1.")
    if strategy != "ddp":
        if devices and devices > 1:
            raise UsageError(
                f"--trainer.strategy {strategy} is one process, but --trainer.devices is {devices}; "
                f"use --trainer.strategy ddp for {devices} processes, or leave --trainer.devices out."
            )
        return 1, f"{strategy} is one process"
    if devices is None:
        if not machine.gpus:
            raise UsageError(
                "--trainer.strategy ddp without a GPU needs a number of processes: add --trainer.devices 2, for "
                "example, or start the ranks with mpirun or srun."
            )
        return len(machine.gpus), "one process per visible GPU"
    if machine.gpus and devices > len(machine.gpus):
        raise UsageError(
            f"--trainer.devices is {devices}, but {len(machine.gpus)} GPUs are visible; ask for that many at most."
        )
    return devices, "asked for"


def choose_precision(on_gpu: bool, machine: Machine) -> tuple[str, str]:
    """The fastest arithmetic that the device has in hardware."""
    if on_gpu:
        return ("bf16-mixed", "the GPU has bf16") if machine.gpu_bf16 else ("16-mixed", "the GPU has fp16 but no bf16")
    if machine.cpu_bf16:
        return "bf16-mixed", "the CPU has bf16 instructions"
    return "32-true", "the CPU has no bf16 instructions"
