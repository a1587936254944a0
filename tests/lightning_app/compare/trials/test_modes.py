"""Modes by name, and why a machine cannot run one."""

from __future__ import annotations

import pytest

from lightning_app.compare.trials.modes import Mode, mode_from_name, parse_mode, threads, why_unavailable
from lightning_app.errors import UsageError
from lightning_app.trainer.machine import Machine

LAPTOP = Machine(cores=4, cpu_bf16=False)
GPUS = Machine(cores=16, cpu_bf16=True, gpus=("H100", "H100"), gpu_bf16=True)


@pytest.mark.parametrize(
    "mode",
    [
        Mode("cpu", 0),
        Mode("cpu", 2),
        Mode("gpu"),
        Mode("ddp", 4),
        Mode("ddp", 4, weak=True),
        Mode("serial", 4),
        Mode("original"),
    ],
)
def test_a_mode_is_known_by_its_name(mode: Mode) -> None:
    assert mode_from_name(mode.name) == mode


@pytest.mark.parametrize("text", ["tpu", "ddp", "ddp:0", "ddp:1", "ddp:2@0", "cpu:2@1", "cpu:x", "gpu:2", "serial:2"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--modes"):
        parse_mode(text)


@pytest.mark.parametrize("mpi", [True, False])
@pytest.mark.parametrize(
    ("mode", "machine", "reason"),
    [
        ("gpu", LAPTOP, "found no GPU that this PyTorch can use (torch.cuda.device_count() is 0)"),
        ("cpu:8", LAPTOP, "8 threads, but 4 cores"),
        ("ddp:3", GPUS, "2 GPUs are visible"),
    ],
)
def test_what_a_machine_cannot_run_has_a_reason(mode: str, machine: Machine, reason: str, mpi: bool) -> None:
    assert reason in (why_unavailable(parse_mode(mode), machine, mpi) or "")


@pytest.mark.parametrize("mpi", [True, False])
@pytest.mark.parametrize(
    ("mode", "machine"), [("cpu", LAPTOP), ("cpu:4", LAPTOP), ("ddp:8", LAPTOP), ("ddp:2", GPUS), ("gpu", GPUS)]
)
def test_what_a_machine_can_run_has_none(mode: str, machine: Machine, mpi: bool) -> None:
    assert why_unavailable(parse_mode(mode), machine, mpi) is None


@pytest.mark.parametrize(("nodes", "possible"), [(1, False), (2, True)])
def test_ranks_are_spread_over_the_nodes_of_an_allocation(nodes: int, possible: bool) -> None:
    assert (why_unavailable(parse_mode("ddp:4"), GPUS, True, nodes) is None) is possible


def test_cores_are_shared_out_once() -> None:
    assert [threads(mode_from_name(name), 4) for name in ("cpu", "cpu:3", "ddp:2", "serial:2", "ddp:8")] == [
        4,
        3,
        2,
        2,
        1,
    ]


@pytest.mark.parametrize(
    ("text", "nodes", "reason"),
    [("ddp:4@2", 2, None), ("ddp:4@3", 2, "3 nodes for 4 ranks, but 2 in this job"), ("ddp:4@1", 2, "4 ranks on this")],
)
def test_ranks_go_on_as_many_nodes_as_they_are_told(text: str, nodes: int, reason: str | None) -> None:
    mode = parse_mode(text)
    assert mode_from_name(mode.name) == mode
    assert (reason or "") in (why_unavailable(mode, GPUS, True, nodes) or "")
    assert (reason is None) == (why_unavailable(mode, GPUS, True, nodes) is None)
