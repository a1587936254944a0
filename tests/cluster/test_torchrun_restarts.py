"""torchrun restarts ranks, with several agents whose restart counts differ, but not a fit that was asked to stop."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from equality import curves, different_states
from killing import descendants, environ_of, kill_tree
from test_kill import OPTIONS, RUN, SLOW_FIT

REPOSITORY = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--max-restarts", "3", "--no-python"]
STEP_SECONDS = "0.2"

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(600)]


@contextmanager
def agents(words: Sequence[Sequence[str]], folder: Path, cache: Path) -> Iterator[list[subprocess.Popen]]:
    """Agents of torchrun with the options of each, and a slow fit under them."""
    options = [word for option in OPTIONS.items() for word in option]
    where = ["--runs_dir", str(folder / "runs"), "--data.cache_dir", str(cache)]
    program = [sys.executable, str(SLOW_FIT), STEP_SECONDS, "0", "fit", *options, *where]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    running = [
        subprocess.Popen(
            [*TORCHRUN, *each, *program],
            cwd=REPOSITORY,
            env=environ,
            stdout=(folder / f"said-{number}").open("w"),
            stderr=subprocess.STDOUT,
        )
        for number, each in enumerate(words)
    ]
    try:
        yield running
    finally:
        for agent in running:
            kill_tree(agent.pid)


def wait_for(found: Path, pattern: str) -> None:
    """Until a folder has such a file."""
    while not list(found.glob(pattern)):
        time.sleep(0.05)


def ranks_of(agent: subprocess.Popen) -> list[int]:
    """The process numbers of an agent's ranks."""
    return [pid for pid in descendants(agent.pid) if "TORCHELASTIC_RUN_ID" in environ_of(pid)]


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_agents_restart_a_killed_rank_and_the_run_ends_with_the_bits_of_one_that_was_not_killed(
    count: int, tmp_path: Path, whole_of_two: Path, digits: Path
) -> None:
    endpoint = f"localhost:{random.randrange(20000, 32000)}"
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-id", "restarts", "--rdzv-endpoint", endpoint]
    words = [*rendezvous, "--nnodes", str(count), "--nproc-per-node", str(2 // count)]
    with agents([words] * count, tmp_path, digits) as running:
        wait_for(tmp_path / RUN / "checkpoints", "step-*.ckpt")
        os.kill(ranks_of(running[-1])[-1], signal.SIGKILL)
        assert [agent.wait() for agent in running] == [0] * count
    said = "".join(path.read_text() for path in tmp_path.glob("said-*"))
    assert said.count("resuming from step") == 1
    assert [path.name for path in (tmp_path / RUN).parent.iterdir()] == ["version_0"]
    assert different_states(tmp_path / RUN, whole_of_two) == []
    assert curves(tmp_path / RUN) == curves(whole_of_two)


@pytest.mark.soak  # in CI: tests/lightning_app/checkpointing/test_preemption.py
def test_a_fit_that_was_asked_to_stop_is_not_started_anew(tmp_path: Path, digits: Path) -> None:
    with agents([["--standalone", "--nproc-per-node", "1"]], tmp_path, digits) as [agent]:
        wait_for(tmp_path / RUN / "checkpoints", "step-*.ckpt")
        os.kill(*ranks_of(agent), signal.SIGUSR1)
        assert agent.wait() == 0
    said = (tmp_path / "said-0").read_text()
    assert said.count("stopped at step") == 1
    assert "torchrun" in said
