"""The parts of bench: the program for each, its precision, and its share of a round's time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_app.bench.ratios import Figures
from lightning_app.errors import UsageError
from lightning_app.trainer.machine import Machine
from lightning_app.trainer.plan import choose_precision

CONTESTANTS = "lightning_app.bench.contestants"
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
# Of a round's time. The program has five contestants that alternate.
SHARES = {"original": 1.0, "program": 4.0, "compiled": 4.0, "ranks": 2.0, "serving": 1.0}
NAMES = tuple(SHARES)
ON_REQUEST: dict[str, set[str]] = {"cpu": {"compiled"}, "gpu": set()}  # a CPU compiles for minutes, and was slower then


@dataclass(frozen=True)
class Shape:
    """What is measured: the maximum of steps, the batch, and torch.compile's mode."""

    steps: int
    original_steps: int
    batch_size: int
    image_size: int
    compile_mode: str = "default"


@dataclass(frozen=True)
class Part:
    """A program that runs once per round.

    Attributes:
        precision: of the program's steps; empty for the other parts, which choose theirs.
        device: cpu or gpu.
    """

    name: str
    device: str
    precision: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} ({self.precision})" if self.precision else self.name

    @property
    def share(self) -> float:
        return SHARES[self.name]

    def most_steps(self, shape: Shape) -> int | None:
        """Requested counted steps; None for a part that chooses its steps."""
        return {"original": shape.original_steps, "program": shape.steps, "compiled": shape.steps}.get(self.name)

    def figures(self, measured: dict[str, Any]) -> Figures:
        """images/s by contestant, and the counted steps if the part has counted some."""
        if self.name == "original":  # its other values are for compare
            return {"original": measured["images_per_second"], "counted_steps": measured["counted_steps"]}
        return measured

    def command(self, shape: Shape, seconds: float) -> list[str]:
        """The arguments of `python -m`; it measures as many steps as fit into the seconds, and at least some."""
        size = ["--batch_size", str(shape.batch_size), "--image_size", str(shape.image_size)]
        timed = ["--seconds", f"{seconds:.1f}", "--device", self.device]
        steps = ["--steps", str(shape.steps), "--precision", self.precision]
        return {
            "original": [f"{CONTESTANTS}.original_loop", "--steps", str(shape.original_steps), *size, *timed],
            "program": [f"{CONTESTANTS}.step_timing", *steps, *size, *timed],
            "compiled": [f"{CONTESTANTS}.compiled_step", *steps, "--mode", shape.compile_mode, *size, *timed],
            "ranks": [*TORCHRUN, f"{CONTESTANTS}.rank_scaling", *size, "--seconds", f"{seconds:.1f}"],
            "serving": [f"{CONTESTANTS}.serving"],
        }[self.name]


def choose_parts(names: Sequence[str] | None, device: str, precision: str, machine: Machine) -> list[Part]:
    """The parts that this machine can measure; prints the others with the reason.

    Args:
        names: None for all except those that take minutes there.
        device: auto, cpu or gpu.
        precision: one of Lightning's names, or auto: the fastest and 32-true; only the fastest for torch.compile.

    Raises:
        UsageError: the device is missing, or no part is left.
    """
    gpus = len(machine.gpus)
    if device == "gpu" and not gpus:
        raise UsageError("--device gpu: PyTorch finds no GPU here (torch.cuda.device_count() is 0). Use --device cpu.")
    device = device if device != "auto" else "gpu" if gpus else "cpu"
    names = [name for name in NAMES if name not in ON_REQUEST[device]] if names is None else names
    fastest, _ = choose_precision(device == "gpu", machine)
    precisions = list(dict.fromkeys([fastest, "32-true"])) if precision == "auto" else [precision]
    in_each = {"program": precisions, "compiled": precisions[:1]}
    found = []
    for name in names:
        if reason := why_not(name, device, gpus):
            print(f"{name}: left out, {reason}", flush=True)
        else:
            found += [Part(name, device, each) for each in in_each.get(name, [""])]
    if not found:
        raise UsageError(f"--parts {' '.join(names)}: nothing is left to measure here. Choose others.")
    return found


def why_not(name: str, device: str, gpus: int) -> str:
    """Why a part cannot be measured; empty if it can."""
    if name == "ranks" and gpus and device == "cpu":
        return "because ranks would use the GPUs"
    if name == "ranks" and gpus == 1:
        return "because two ranks would share the one GPU"
    return ""
