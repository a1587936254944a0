"""Processes that Lightning starts find each other on ports that the first one holds."""

from __future__ import annotations

import math
import socket
from contextlib import closing

import pytest

from lightning_app.rendezvous import local_environment
from lightning_app.rendezvous.local_environment import LocalEnvironment
from lightning_app.rendezvous.places import LOCAL_VARIABLE
from lightning_app.rendezvous.rendezvous import Rendezvous
from lightning_app.rendezvous.waiting import TIMEOUT_VARIABLE, Waiting

VARIABLES = (
    *("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT"),
    *(LOCAL_VARIABLE, TIMEOUT_VARIABLE),
)


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # restored at the end, also where the subject sets it
        monkeypatch.delenv(name)
    for name in ("_store", "_listener", "_rendezvous"):
        monkeypatch.setattr(LocalEnvironment, name, None)


def test_the_parent_of_local_processes_holds_their_port_from_the_first_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = LocalEnvironment()
    port = parent.main_port
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("", port))
    monkeypatch.setenv("LOCAL_RANK", "1")  # as Lightning sets it for a child
    assert LocalEnvironment().main_port == port


def test_a_port_that_the_user_sets_is_used_for_local_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("", 0))) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("MASTER_PORT", str(port))
    assert LocalEnvironment().main_port == port


@pytest.mark.parametrize(("said", "seconds"), [(None, math.inf), ("7", 7.0)])
def test_processes_that_are_alive_are_waited_for_unless_the_user_sets_a_timeout(
    said: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float] = []

    def gather(listener: object, place: object, world_size: int, store: object, waiting: Waiting) -> Rendezvous:
        timeouts.append(waiting.timeout)
        return Rendezvous("127.0.0.1", 1, [0] * world_size, "127.0.0.1")

    monkeypatch.setattr(local_environment, "as_rank_zero", gather)
    if said:
        monkeypatch.setenv(TIMEOUT_VARIABLE, said)
    parent = LocalEnvironment()
    parent.set_world_size(2)
    parent.hold_ports()
    assert parent.rendezvous() is parent.rendezvous()
    assert timeouts == [seconds]
