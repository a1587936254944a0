"""doctor: what each rank detects, an all-reduce, and what would go wrong.

Each rank examines its machine; then they meet, and rank 0 reports for all. If the rendezvous fails, each rank that is
there reports what it knows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_app.doctor.diagnosis import Diagnosis
from lightning_app.doctor.problems import problems
from lightning_app.doctor.rank_facts import Facts, rank_facts, to_facts
from lightning_app.doctor.rendering import full_report, short_report
from lightning_app.errors import UsageError
from lightning_app.failure.other_ranks import end_others
from lightning_app.failure.shutdown import attempt, hard_exit
from lightning_app.launchers.detection import this_launch
from lightning_app.rendezvous.waiting import connect_timeout

if TYPE_CHECKING:
    from torch.distributed import Store

COMMUNICATION_SECONDS = 25.0  # once all ranks have connected: connections, and an all-reduce on each backend
OTHERS_WAIT_SECONDS = 5.0  # for rank 0, which has the table to print
LAST_WORD_SECONDS = 1.0  # before the exit of one rank makes the launcher kill the others


def doctor(args: list[str]) -> None:
    """Examine, meet, add, report. The exit code is 1 if a fit would not start."""
    options = parse(args)
    own = rank_facts(options.cache_dir, options.runs_dir)
    diagnosis = Diagnosis([own])
    if own.world_size > 1:
        keep_stdout_for_the_report()
        watchdog = threading.Timer(COMMUNICATION_SECONDS, give_up, [options, diagnosis])
        watchdog.daemon = True
        try:
            consult(diagnosis, own, options.timeout or connect_timeout(), watchdog.start)
        except (UsageError, RuntimeError) as error:  # torch's own connection errors are RuntimeErrors
            diagnosis.failed = f"rank {own.rank} on {own.host}: {error}"
        watchdog.cancel()
    finish(options, diagnosis, own)


def parse(args: list[str]) -> argparse.Namespace:
    """The options of doctor."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app doctor",
        description="Show what each rank detects, check and time an all-reduce, and list problems. Start it as you "
        "start a fit: with mpirun, srun or torchrun before it, or without a launcher.",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable, for bug reports")
    parser.add_argument("--timeout", type=float, help="seconds to wait for other ranks; by default as long as a fit")
    parser.add_argument("--cache_dir", type=Path, default=Path("data/packed"), help="like data.cache_dir of a fit")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="like runs_dir of a fit")
    return parser.parse_args(args)


def keep_stdout_for_the_report() -> None:
    """Redirect what libraries print to stderr: torch 2.10's gloo prints a greeting, NCCL its version."""
    sys.stdout = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), 1)


def consult(diagnosis: Diagnosis, own: Facts, timeout: float, all_have_come: Callable[[], None]) -> None:
    """Meet the other ranks, call `all_have_come`, exchange facts, and add numbers with them.

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
    wait_for_all(store, own, timeout)
    all_have_come()
    dist.init_process_group(
        "gloo", store=store, rank=own.rank, world_size=own.world_size, timeout=timedelta(seconds=timeout)
    )
    said: list[str] = [""] * own.world_size
    dist.all_gather_object(said, json.dumps(dataclasses.asdict(own)))
    diagnosis.rendezvous_seconds = time.monotonic() - start
    diagnosis.ranks = [to_facts(json.loads(each)) for each in said]
    diagnosis.reductions.append(reduce_numbers("gloo", torch.device("cpu")))
    if own.gpu is not None and all(rank.gpu is not None for rank in diagnosis.ranks):
        torch.cuda.set_device(own.gpu)
        device = torch.device("cuda", own.gpu)
        # Through a separate group: the default one uses gloo, for ranks without a GPU.
        diagnosis.reductions.append(reduce_numbers("nccl", device, dist.new_group(backend="nccl")))


def wait_for_all(store: Store, own: Facts, timeout: float) -> None:
    """Wait until each rank has reached the store: under torchrun, nothing has waited for them before.

    Raises:
        UsageError: some have not; usually they are still importing.
    """
    from torch.distributed import DistStoreError

    name = "lightning_app/doctor/{}".format
    store.set(name(own.rank), "")
    try:
        store.wait([name(rank) for rank in range(own.world_size)], timedelta(seconds=timeout))
    except DistStoreError as error:
        missing = [rank for rank in range(own.world_size) if not store.check([name(rank)])]
        raise UsageError(
            f"rank {', '.join(map(str, missing))} did not connect within {timeout:.0f} s: still importing (minutes, if "
            "many ranks read one network file system; --timeout waits longer), not started, or ended. Look for its "
            "messages above."
        ) from error


def give_up(options: argparse.Namespace, diagnosis: Diagnosis) -> None:
    """From the watchdog's thread: report what is known, and end the process."""
    own = diagnosis.ranks[0]
    what = "adding numbers" if diagnosis.rendezvous_seconds else "connecting to each other"
    diagnosis.failed = (
        f"rank {own.rank} on {own.host}: all ranks have connected, but {what} took more than "
        f"{COMMUNICATION_SECONDS:.0f} s. A firewall between the nodes, or the wrong network: set GLOO_SOCKET_IFNAME "
        "and NCCL_SOCKET_IFNAME to the interface that all nodes share (ip -br address shows them)."
    )
    attempt(lambda: show(options, diagnosis, own))
    hard_exit(1)


def finish(options: argparse.Namespace, diagnosis: Diagnosis, own: Facts) -> None:
    """Report, and exit with 1 if something failed."""
    if own.world_size > 1 and diagnosis.failed:
        attempt(lambda: show(options, diagnosis, own))  # a killed or stopped launcher reads nothing
        time.sleep(LAST_WORD_SECONDS if own.rank == 0 else OTHERS_WAIT_SECONDS)
        end_others(this_launch())
        hard_exit(1)
    show(options, diagnosis, own)
    if not diagnosis.healthy:
        sys.exit(1)


def show(options: argparse.Namespace, diagnosis: Diagnosis, own: Facts) -> None:
    """Print: rank 0 for all, the others only if they could not send it their facts."""
    if own.rank and not diagnosis.failed:
        return
    if options.json:
        text = json.dumps(dataclasses.asdict(diagnosis) | {"problems": problems(diagnosis.ranks)}, indent=1)
    elif own.rank:
        text = short_report(own, diagnosis.failed)
    else:
        text = full_report(diagnosis)
    print(text, flush=True)
