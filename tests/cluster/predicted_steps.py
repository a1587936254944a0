"""Step times over slow links: predicted from a sweep between two ranks, and measured. For docs/compare.md, as root:

    python tests/cluster/predicted_steps.py 100 300 1000

Two hosts made of network namespaces, with a token bucket (tc tbf) at each end of the cable between them, and 2, 3 and 4
ranks, the first half on one host; all share the cores of one machine. Computing time is measured alternately with step
time, by skipping the exchange of gradients.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts import HOSTS, Hosts, running_hosts

from lightning_app.compare.analysis.scaling_model import Link, Step
from lightning_app.compare.trials.rounds import MEASURE, STEPS_ONLY

REPOSITORY = Path(__file__).parents[2]
RANKS = (2, 3, 4)
STEPS, PAIRS = 4, 16
DEVICE = "lan0"
TIMEOUT_S = 280
FIT = ("--config", "configs/quickstart.yaml", "--data.image_size", "32", "--trainer.strategy", "ddp")


@dataclass(frozen=True)
class Checked:
    """One number of ranks over one link: seconds of a step."""

    megabits: float
    ranks: int
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """Of the prediction, relative to the measurement."""
        return self.predicted / self.measured - 1


def mpirun(hosts: Hosts, launcher: Sequence[str], placed: str, ranks: int) -> list[str]:
    """The words of a launch whose ranks have one core each, in turn; it passes on what Python needs."""
    words = [word for word in launcher if word != "--oversubscribe"]
    agent = ["--prtemca", "plm_ssh_agent", str(hosts.agent)]
    exported = ["-x", f"PYTHONPATH={REPOSITORY}", "-x", "OMP_WAIT_POLICY=passive"]
    core = 'exec taskset -c $((OMPI_COMM_WORLD_RANK % 2)) "$@"'
    return [*words, *agent, "--bind-to", "none", "--host", placed, "-np", str(ranks), *exported, "sh", "-c", core, "sh"]


def across(ranks: int) -> str:
    """The first half on one host."""
    return f"one:{-(-ranks // 2)},two:{ranks // 2}"


def launch(hosts: Hosts, launcher: Sequence[str], placed: str, ranks: int, folder: Path, *program: str) -> list[Any]:
    """Run a program of ranks; what each left in the folder."""
    folder.mkdir(parents=True)
    words = [*mpirun(hosts, launcher, placed, ranks), sys.executable, "-m", *program]
    done = hosts.run("one", *words, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


def fit(hosts: Hosts, launcher: Sequence[str], placed: str, ranks: int, folder: Path) -> list[Any]:
    """Counted steps of the digits, and pairs of steps with and without the exchange of gradients."""
    arguments = {"folder": str(folder), "steps": STEPS, "pairs": PAIRS}
    measure = "--trainer.callbacks+=" + json.dumps({"class_path": MEASURE, "init_args": arguments})
    own = ("--runs_dir", str(folder / "runs"), "--data.cache_dir", str(folder.parent / "packed"))
    return launch(hosts, launcher, placed, ranks, folder, "lightning_app", "fit", *FIT, measure, *own, *STEPS_ONLY)


def slow_down(hosts: Hosts, megabits: float) -> None:
    """Put a token bucket at both ends of the cable."""
    burst = max(128_000, int(megabits * 1e6 / 8 / 100))  # what passes in 10 ms; a segment has to fit
    for host in HOSTS:
        shape = ["tc", "qdisc", "replace", "dev", DEVICE, "root", "tbf", "rate", f"{megabits}mbit"]
        done = hosts.run(host, *shape, "burst", str(burst), "limit", "20000000")
        assert done.returncode == 0, done.stderr


def check(hosts: Hosts, launcher: Sequence[str], counts: Sequence[int], megabits: float, folder: Path) -> list[Checked]:
    """Predict from a sweep between two ranks, and measure all numbers of ranks."""
    slow_down(hosts, megabits)
    program = "lightning_app.compare.measuring.all_reduce_timing", str(folder / "all_reduce")
    link = Link.measured(launch(hosts, launcher, across(2), 2, folder / "all_reduce", *program)[0]["points"], 2)
    found = []
    for ranks in counts:
        measured = fit(hosts, launcher, across(ranks), ranks, folder / f"ddp-{ranks}")
        steps = zip(*(rank["communication"]["with"] for rank in measured), strict=True)
        seconds = statistics.median(max(step) for step in steps)
        found.append(Checked(megabits, ranks, Step.measured(measured).over(link, ranks), seconds))
    return found


def table(found: Sequence[Checked]) -> str:
    """The table as in the docs."""
    rows = ["| Mbit/s | ranks | predicted (ms) | measured (ms) | off by |", "| --- | --- | --- | --- | --- |"]
    for each in found:
        times = f"{1000 * each.predicted:.0f} | {1000 * each.measured:.0f}"
        rows.append(f"| {each.megabits:g} | {each.ranks} | {times} | {100 * each.error:+.0f}% |")
    return "\n".join(rows)


def main(bandwidths: Sequence[float]) -> None:
    """Print the table."""
    beside = Path(sys.executable).with_name("mpirun")
    version = subprocess.run([beside, "--version"], capture_output=True, text=True, check=True).stdout
    assert "(Open MPI) 5" in version, version
    launcher = [str(beside), "--allow-run-as-root"]
    with tempfile.TemporaryDirectory(prefix="predicted-") as name, running_hosts(Path(name)) as hosts:
        found = [
            each
            for megabits in bandwidths
            for each in check(hosts, launcher, RANKS, megabits, Path(name) / f"{megabits:g}")
        ]
    print(table(found))


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]])
