"""doctor: what each rank thinks it is, an all-reduce, and what would go wrong.

Each rank looks around by itself; then they meet, and rank 0 reports for all. If they do not meet, each that is there
says what it knows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_app.doctor.problems import problems
from lightning_app.doctor.rank_facts import Facts, look_around, to_facts
from lightning_app.doctor.rendering import full_report, short_report
from lightning_app.errors import UsageError
from lightning_app.failure.other_ranks import end_others
from lightning_app.failure.shutdown import hard_exit
from lightning_app.launchers.detection import this_launch

if TYPE_CHECKING:
    from lightning_app.doctor.all_reduce import Reduction

CONNECT_SECONDS = 15.0
REDUCE_SECONDS = 10.0
OTHERS_WAIT_SECONDS = 5.0  # for rank 0, which has the table to print
LAST_WORD_SECONDS = 1.0  # before the exit of one rank makes the launcher end the others


@dataclass
class Findings:
    """All that is known in the end.

    Attributes:
        ranks: of which something is known.
        meeting: seconds until all had met, or None if they have not.
        failed: why the ranks did not meet, or could not add.
        reductions: one for each backend.
    """

    ranks: list[Facts]
    meeting: float | None = None
    failed: str = ""
    reductions: list[Reduction] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """A fit would start here."""
        return (
            not self.failed
            and all(reduction.right for reduction in self.reductions)
            and not any(rank.refused for rank in self.ranks)
        )


def doctor(args: list[str]) -> None:
    """Look, meet, add, report. The exit code is 1 where a fit would not start."""
    options = parse(args)
    own = look_around(options.cache_dir, options.runs_dir)
    findings = Findings([own])
    if own.world_size > 1:
        keep_stdout_for_the_report()
        watchdog = threading.Timer(options.timeout + REDUCE_SECONDS, give_up, [options, findings])
        watchdog.daemon = True
        watchdog.start()
        try:
            consult(findings, own, options.timeout)
        except (UsageError, RuntimeError) as error:  # torch's own errors of connections are the latter
            findings.failed = f"rank {own.rank} on {own.host}: {error}"
        watchdog.cancel()
    finish(options, findings, own)


def parse(args: list[str]) -> argparse.Namespace:
    """The options of doctor."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app doctor",
        description="What each rank thinks it is, an all-reduce that is checked and timed, and what would go wrong. "
        "Start it as you start a fit: mpirun, srun or torchrun before it, or nothing.",
    )
    parser.add_argument("--json", action="store_true", help="for machines, and for a bug report")
    parser.add_argument(
        "--timeout", type=float, default=CONNECT_SECONDS, help="seconds to wait for other ranks (default: 15)"
    )
    parser.add_argument("--cache_dir", type=Path, default=Path("data/packed"), help="as data.cache_dir of a fit")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="as of a fit")
    return parser.parse_args(args)


def keep_stdout_for_the_report() -> None:
    """What libraries print there from now on goes to stderr: torch 2.10's gloo greets, NCCL tells its version."""
    sys.stdout = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), 1)


def consult(findings: Findings, own: Facts, timeout: float) -> None:
    """Meet the other ranks, hear what they know, and add numbers with them.

    Raises:
        UsageError: some ranks are missing.
        RuntimeError: a connection failed.
    """
    import torch
    import torch.distributed as dist

    from lightning_app.doctor.all_reduce import reduce_numbers
    from lightning_app.rendezvous.environment import LauncherEnvironment

    start = time.monotonic()
    environment = LauncherEnvironment(timeout=timeout)
    address, port = environment.main_address, environment.main_port
    own = dataclasses.replace(own, node_rank=environment.node_rank())
    store = dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=timeout), wait_for_workers=False)
    dist.init_process_group(
        "gloo", store=store, rank=own.rank, world_size=own.world_size, timeout=timedelta(seconds=timeout)
    )
    said: list[str] = [""] * own.world_size
    dist.all_gather_object(said, json.dumps(dataclasses.asdict(own)))
    findings.meeting = time.monotonic() - start
    findings.ranks = [to_facts(json.loads(each)) for each in said]
    findings.reductions.append(reduce_numbers("gloo", torch.device("cpu")))
    if own.gpu is not None and all(rank.gpu is not None for rank in findings.ranks):
        torch.cuda.set_device(own.gpu)
        device = torch.device("cuda", own.gpu)
        # Through a group of its own: the default one speaks gloo, for ranks without a GPU.
        findings.reductions.append(reduce_numbers("nccl", device, dist.new_group(backend="nccl")))


def give_up(options: argparse.Namespace, findings: Findings) -> None:
    """From the watchdog's thread: say what is known, and end the process."""
    own = findings.ranks[0]
    met = "the ranks met, but adding numbers" if findings.meeting else "meeting the other ranks"
    findings.failed = (
        f"rank {own.rank} on {own.host}: {met} took more than {options.timeout + REDUCE_SECONDS:.0f} s. A firewall "
        "between the nodes, or the wrong network: set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the interface that "
        "all nodes share (ip -br address shows them)."
    )
    show(options, findings, own)
    hard_exit(1)


def finish(options: argparse.Namespace, findings: Findings, own: Facts) -> None:
    """Report, and exit with 1 where something failed."""
    show(options, findings, own)
    if own.world_size > 1 and findings.failed:
        time.sleep(LAST_WORD_SECONDS if own.rank == 0 else OTHERS_WAIT_SECONDS)
        end_others(this_launch())
        hard_exit(1)
    if not findings.well:
        sys.exit(1)


def show(options: argparse.Namespace, findings: Findings, own: Facts) -> None:
    """Print: rank 0 for all, the others only where they could not tell it."""
    if own.rank and not findings.failed:
        return
    if options.json:
        text = json.dumps(dataclasses.asdict(findings) | {"problems": problems(findings.ranks)}, indent=1)
    elif own.rank:
        text = short_report(own, findings.failed)
    else:
        text = full_report(findings)
    print(text, flush=True)
