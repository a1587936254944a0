"""One rank of a job that only watches its peers: python peer_monitor_program.py RANK RANKS FOLDER ACT

In FOLDER/port, rank 0 says where it listens. Without torch, so that a job with several ranks starts at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from lightning_app.failure.hang_watch import Position
from lightning_app.failure.peer_monitor import Ending, PeerMonitor
from lightning_app.failure.shutdown import print_error
from lightning_app.rendezvous.joining import join
from lightning_app.rendezvous.star import Peer, Place, gather, listen
from lightning_app.rendezvous.waiting import Waiting

TOKEN, TIMEOUT_S = "token", 300


def peers_of(rank: int, ranks: int, folder: Path) -> dict[int, Peer]:
    """The connections of a rank."""
    port, waiting = folder / "port", Waiting(TIMEOUT_S)
    if rank == 0:
        listener = listen([0])
        written = port.with_suffix(".new")
        written.write_text(str(listener.getsockname()[1]))
        written.rename(port)
        return gather(listener, TOKEN, ranks, waiting, lambda peers: {})
    place = lambda: Place("127.0.0.1", [int(port.read_text())], TOKEN) if port.exists() else None  # noqa: E731
    return {0: join(place, rank, "node", waiting)[0]}


def meet(what: str, rank: int, ranks: int, folder: Path) -> None:
    """Wait until all ranks are here."""
    folder.joinpath(f"{what}-{rank}").touch()
    while len(list(folder.glob(f"{what}-*"))) < ranks:
        time.sleep(0.01)


def main(rank: int, ranks: int, folder: Path, act: str) -> None:
    """Act when all are there."""
    peers, position = peers_of(rank, ranks, folder), Position(1.5, rank, ["here"])
    monitor = PeerMonitor(peers, announces=rank < 2, position=lambda: position)
    meet("there", rank, ranks, folder)
    if act == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "fail":
        line = f"rank {rank} failed"
        if not monitor.fail(Ending(line, 2), lambda: print_error(line)):
            time.sleep(600)
        os._exit(2)
    elif act == "ask":
        print(*monitor.ask(TIMEOUT_S).items(), flush=True)
        meet("asked", rank, ranks, folder)  # one that has ended is not in the answer
        monitor.close()
    elif act == "end":
        monitor.close()
    else:
        time.sleep(600)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
