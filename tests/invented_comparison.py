"""Results of an invented comparison, with figures whose consequences are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_app.compare.trials.modes import mode_from_name

BATCH, TOTAL = 64, 10_000
BUCKETS = [(2_000_000, 0.3), (4_000_000, 0.5), (3_000_000, 0.9)]


def content(runs: Sequence[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Of a results.json."""
    machine = {
        "host": "here",
        "cores": 2,
        "host_cores": 2,
        "gpus": [],
        "versions": {"cpu": "A processor", "torch": "2.14.1"},
    }
    return {
        "schema": 2,
        "recipe": "0123456789abcdef",
        "options": {"model.backbone": "mobilenet_v2", "data.dataset": "cifar10"},
        "batch_size": BATCH,
        "image_size": 224,
        "settings": {"steps": 30, "rounds": 3, "original_steps": 9},
        "command": ["python", "-m", "lightning_app", "compare", "--modes", "cpu:1", "ddp:2"],
        "machines": {"here": machine},
        "unavailable": [{"mode": "gpu", "machine": "here", "reason": "found no GPU"}],
        "runs": list(runs),
        **changes,
    }


def run(part: str, mode: str, number: int, ranks: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Of one mode."""
    return {
        "part": part,
        "mode": mode,
        "number": number,
        "machine": "here",
        "git": "0123456789ab",
        "launcher": "mpirun" if mode.startswith("ddp") else "none",
        "command": ["python"],
        "date": "2026-11-25T00:00:00+00:00",
        "began": 1000.0,
        "seconds": 100.0,
        "failed": None,
        "ranks": ranks,
        **changes,
    }


def rank(step: float, threads: int = 1, batch_size: int = BATCH, **changes: Any) -> dict[str, Any]:
    """What a process writes, with equally long steps."""
    return {
        "rank": 0,
        "threads": threads,
        "device": "cpu",
        "batch_size": batch_size,
        "steps": [step * share for share in (0.98, 1, 1, 1, 1.04)],
        "data": [0.02 * step] * 5,
        "communication": None,
        "buckets": None,
        "host_memory": 10**9,
        "gpu_memory": None,
        "correct": None,
        **changes,
    }


def exchanging(step: float) -> dict[str, Any]:
    """A rank of ddp: a tenth of its step is communication."""
    found = {"with": [step] * 4, "without": [0.9 * step] * 4}
    return rank(step, communication=found, buckets=[BUCKETS] * 4)


def rounds(mode: str, *ranks: dict[str, Any]) -> list[dict[str, Any]]:
    """Counted steps; the machine is slower in each round than in the one before, for all modes alike."""
    return [run("steps", mode, number, [slower(each, 1 + number) for each in ranks]) for number in range(3)]


def slower(rank: dict[str, Any], factor: int) -> dict[str, Any]:
    """The same process on a machine that takes longer."""
    return rank | {name: [factor * each for each in rank[name]] for name in ("steps", "data") if name in rank}


def all_reduce_timing(mode: str, latency: float, bandwidth: float, ranks: int) -> dict[str, Any]:
    """A link without noise."""
    sizes = [1024 * 4**power for power in range(9)]
    points = [{"bytes": size, "seconds": 2 * (ranks - 1) * (latency + size / ranks / bandwidth)} for size in sizes]
    return run("all_reduce", mode, 0, [{"rank": 0, "points": points}])


def whole(mode: str, seed: int, correct: int, seconds: float = 100.0) -> dict[str, Any]:
    """A complete run: a fifth of its time passes before training, a tenth after it."""
    began = 1000.0
    times = {
        "imported": began + 0.1 * seconds,
        "training_began": began + 0.15 * seconds,
        "first_step_ended": began + 0.2 * seconds,
        "training_ended": began + 0.9 * seconds,
        "validation_s": 0.1 * seconds,
        "checkpoint_s": 0.01 * seconds,
        "test_s": 0.06 * seconds,
        "validations": [
            {"time": began + share * seconds, "step": 1, "accuracy": accuracy}
            for share, accuracy in ((0.4, 0.8), (0.6, 0.9), (0.8, correct / TOTAL))
        ],
    }
    ranks = [rank(0.5, correct=correct, total=TOTAL, **times)] * mode_from_name(mode).processes
    return run("whole", mode, seed, ranks, seconds=seconds)


def everything() -> dict[str, Any]:
    """A comparison with everything that can occur."""
    runs = [
        *rounds("original", {"steps": [6.0, 6.1, 5.9], "batch_size": BATCH, "threads": 2, "device": "cpu"}),
        *rounds("cpu:1", rank(2.0)),
        *rounds("cpu:2", rank(1.2, threads=2)),
        *rounds("ddp:2", exchanging(1.1), exchanging(1.1)),
        *rounds("serial:2", rank(2.16), rank(2.16)),
        all_reduce_timing("ddp:2", 1e-4, 1e9, 2),
        *(whole("cpu:1", seed, 9600 + 10 * seed, 100 + seed) for seed in range(3)),
        *(whole("ddp:2", seed, 9590 + 10 * seed, 60 + seed) for seed in range(3)),
    ]
    return content(runs)


def uneven() -> dict[str, Any]:
    """Rounds, ranks, seeds and variances that are all unlike; the tests say what follows, worked out by hand.

    Images/s of the rounds: cpu:1 64/2 = 32 and 64/4 = 16; ddp:2 by its first rank 64/1 = 64 and 64/1.6 = 40; serial:2
    64/2 + 64/4 = 48 and 64/4 + 64/8 = 24.
    """
    return content(
        [
            *by_round("cpu:1", [[1.0, 2.0, 4.0]], [[2.0, 4.0, 8.0]]),
            *by_round("ddp:2", [[0.5, 1.0, 2.0], [3.0, 3.0, 3.0]], [[0.8, 1.6, 3.2], [9.0, 9.0, 9.0]]),
            *by_round("serial:2", [[2.0, 2.0, 2.0], [4.0, 4.0, 4.0]], [[4.0, 4.0, 4.0], [8.0, 8.0, 8.0]]),
            whole("cpu:1", 0, 9600, 100.0),
            whole("cpu:1", 1, 9640, 130.0),
            whole("cpu:1", 2, 9710, 400.0),
            whole("ddp:2", 1, 9500, 60.0),
        ]
    )


def by_round(mode: str, *times: list[list[float]]) -> list[dict[str, Any]]:
    """Counted steps whose times are given by round and rank."""
    return [
        run("steps", mode, number, [rank(1.0) | {"steps": steps} for steps in ranks])
        for number, ranks in enumerate(times)
    ]
