"""The star as seen by every rank but 0: find rank 0, introduce ourselves, receive its answer."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lightning_app.rendezvous.connections import keep_alive, read_line, send_line
from lightning_app.rendezvous.star import ANSWER_SECONDS, PAUSE_SECONDS, REPLY_SECONDS, Peer, Place
from lightning_app.rendezvous.waiting import Missing, Waiting


def join(find: Callable[[], Place | None], rank: int, node: str, waiting: Waiting) -> tuple[Peer, dict[str, Any]]:
    """As a rank other than 0: find rank 0, introduce ourselves, and return rank 0 with its answer.

    Args:
        find: where rank 0 listens; None if not known yet. Called repeatedly.
        node: of this rank, without spaces.

    Raises:
        Missing: rank 0 was not found in time, has ended, or reports that others are missing.
    """
    host = socket.gethostname()
    while not waiting.over(lambda: [0]):
        place = find()
        for port in place.ports if place else []:
            connection = knock(place.address, port, place.token)  # type: ignore[union-attr]  # or no port
            if connection:
                answer = hear_answer(connection, f"{rank} {node} {host}", waiting.timeout)
                return Peer(0, answer.pop("host"), connection), answer
        time.sleep(PAUSE_SECONDS)
    where = f" at {place.address}, ports {place.ports}," if place else ""
    raise Missing(
        f"rank {rank} on {host} did not find rank 0{where} within {waiting.timeout:.0f} s: it has not started, has "
        "died, or a firewall is between the nodes. Set MASTER_ADDR to an address of rank 0's node that this node can "
        "reach, or LIGHTNING_APP_CONNECT_TIMEOUT to more seconds."
    )


def knock(address: str, port: int, token: str) -> socket.socket | None:
    """A connection to rank 0, or None if this port is closed or belongs to a stranger."""
    with suppress(OSError):
        connection = socket.create_connection((address, port), REPLY_SECONDS)
        with suppress(OSError):
            send_line(connection, f"hello {token}")
            if read_line(connection, longest=len(token) + 9) == f"welcome {token}":
                return connection
        connection.close()
    return None


def hear_answer(connection: socket.socket, introduction: str, timeout: float) -> dict[str, Any]:
    """Rank 0's answer, once all ranks have connected or its time is up; it may have started later than we did.

    Raises:
        Missing: rank 0 is gone, or reports that others are missing.
    """
    address, port = connection.getpeername()[:2]
    connection.settimeout(None if math.isinf(timeout) else timeout + ANSWER_SECONDS)
    try:
        send_line(connection, introduction)
        answer = json.loads(read_line(connection))
    except (OSError, ValueError) as error:
        connection.close()
        raise Missing(
            f"rank 0 at {address} port {port} ended before all ranks had connected; look for its message above."
        ) from error
    if "missing" in answer:
        connection.close()
        raise Missing(answer["missing"])
    keep_alive(connection)
    return answer
