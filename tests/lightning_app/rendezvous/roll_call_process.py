"""One rank of a job of two, for test_rendezvous: python rendezvous_process.py RANK TOKEN PORT...

Prints what rank 0 told everybody, `<token>'s answer`. Standard library only.
"""

from __future__ import annotations

import sys

from lightning_app.rendezvous.roll_call import answer_the_roll, call_the_roll, listen

TIMEOUT_S = 100


def main(rank: int, token: str, ports: list[int]) -> None:
    """Meet the other rank."""
    if rank == 0:
        call_the_roll(listen(ports), token, 2, TIMEOUT_S, lambda visitors: f"{token}'s answer")
        print(f"{token}'s answer")
    else:
        print(answer_the_roll("127.0.0.1", ports, token, rank, TIMEOUT_S, "node"))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], [int(port) for port in sys.argv[3:]])
