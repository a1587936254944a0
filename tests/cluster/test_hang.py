"""A rank that is stopped does not die and closes nothing: the others say which rank is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from killing import descendants, environ_of, kill_tree, state

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

REPOSITORY = Path(__file__).parents[2]
HOST = os.uname().nodename
OPTIONS = {
    "--config": "configs/quickstart.yaml",
    "--trainer.strategy": "ddp",
    "--trainer.devices": "2",
    "--trainer.max_epochs": "10000",
    "--trainer.limit_train_batches": "5",
    "--trainer.check_val_every_n_epoch": "100",
    "--model.backbone": "shufflenet_v2_x0_5",
    "--model.dropout": "null",
    "--data.image_size": "32",
    "--checkpoint.every_n_steps": "10",
    "--checkpoint.max_share": "1",
    "--hang.minutes": "0.05",  # but at least three times the longest step
}


@contextmanager
def fit(folder: Path, then: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A fit of two local ranks that has taken some steps; and the process number of rank 1."""
    options = [word for option in OPTIONS.items() for word in option]
    where = ["--runs_dir", str(folder / "runs"), "--data.cache_dir", str(folder / "packed"), "--hang.then", then]
    program = subprocess.Popen(
        [sys.executable, "-m", "lightning_app", "fit", *options, *where],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        while not list(folder.glob("runs/quickstart/version_0/checkpoints/step-*.ckpt")):
            assert program.poll() is None, program.communicate()[0]
            time.sleep(0.05)
        [second] = [pid for pid in descendants(program.pid) if environ_of(pid).get("LOCAL_RANK") == "1"]
        yield program, second
    finally:
        kill_tree(program.pid)


def lines_until(program: subprocess.Popen[str], what: str) -> list[str]:
    """What it prints, up to the line that has something."""
    assert program.stdout
    lines = []
    for line in program.stdout:
        lines.append(line)
        if what in line:
            return lines
    pytest.fail(f"no {what!r} in:\n{''.join(lines)}")


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stopped_rank_is_named_with_where_the_other_waits_and_the_fit_goes_on_when_it_does(
    stopped: int, tmp_path: Path
) -> None:
    with fit(tmp_path, "wait") as (program, second):
        hanging = (program.pid, second)[stopped]
        os.kill(hanging, signal.SIGSTOP)
        [*_, said] = lines_until(program, "no progress for ")
        assert f" s. rank {stopped} on {HOST} does not answer: it was stopped (SIGSTOP)" in said
        assert lines_until(program, "/torch/autograd/graph.py")[0] == f"rank {1 - stopped} at:\n"
        os.kill(hanging, signal.SIGCONT)
        lines_until(program, "there is progress again")
        os.kill(program.pid, signal.SIGUSR1)
        lines_until(program, "stopped at step ")
        assert program.wait() == 75


def test_a_job_that_is_told_to_ends_when_a_rank_hangs_and_leaves_none_behind(tmp_path: Path) -> None:
    with fit(tmp_path, "end") as (program, second):
        os.kill(second, signal.SIGSTOP)
        lines_until(program, "error: no progress for ")
        assert program.wait() == 1
        while state(second) not in ("", "Z"):  # a zombie is init's to reap
            time.sleep(0.05)
