"""One rank of a job that does nothing but hold its lifeline: python lifeline_program.py RANK RANKS PLACE ACT

PLACE is the file in which rank 0 says where its hub is. Without torch, so that a job of several ranks starts at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from lightning_app.failure.peer_monitor import Ending, Hub, Lifeline, join


def attach(rank: int, ranks: int, place: Path) -> Lifeline:
    """Join all ranks."""
    if rank == 0:
        hub = Hub(ranks)
        written = place.with_suffix(".new")
        written.write_text(f"{hub.port} {hub.token}")
        written.rename(place)
        hub.gather(timeout=120)
        return hub
    while not place.exists():
        time.sleep(0.01)
    port, token = place.read_text().split(" ")
    return join("127.0.0.1", int(port), token, rank, speaks=rank == 1, hub_host="host0", timeout=120)


def main(rank: int, ranks: int, place: Path, act: str) -> None:
    """Act when all are there."""
    lifeline = attach(rank, ranks, place)
    place.with_name(f"there-{rank}").touch()
    while len(list(place.parent.glob("there-*"))) < ranks:
        time.sleep(0.01)
    if act == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "fail":
        line = f"rank {rank} failed"
        if not lifeline.fail(Ending(line, 2), lambda: print(f"error: {line}", file=sys.stderr, flush=True)):
            time.sleep(600)
        os._exit(2)
    elif act == "end":
        lifeline.close()
    else:
        time.sleep(600)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
