"""One rank of a job of two: python star_program.py RANK TOKEN PORT...

Prints what rank 0 told the other, `<token>'s answer`. Standard library only, so that many start at once.
"""

from __future__ import annotations

import sys

from lightning_app.rendezvous.joining import join
from lightning_app.rendezvous.star import Place, gather, listen
from lightning_app.rendezvous.waiting import Waiting

TIMEOUT_S = 300


def main(rank: int, token: str, ports: list[int]) -> None:
    """Find the other rank."""
    if rank == 0:
        answer = {"answer": f"{token}'s answer"}
        gather(listen(ports), token, 2, Waiting(TIMEOUT_S), lambda peers: answer)
    else:
        _, answer = join(lambda: Place("127.0.0.1", ports, token), rank, "node", Waiting(TIMEOUT_S))
    print(answer["answer"])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], [int(port) for port in sys.argv[3:]])
