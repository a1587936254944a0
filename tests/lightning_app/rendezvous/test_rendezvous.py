"""What all ranks know once they have connected."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous import rendezvous as module
from lightning_app.rendezvous import waiting
from lightning_app.rendezvous.addresses import LOOPBACK
from lightning_app.rendezvous.rendezvous import on_nodes, open_store, rendezvous, route_gradients
from lightning_app.rendezvous.star import Peer

REPOSITORY = Path(__file__).parents[3]
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", *INTERFACES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PMIX_SERVER_URI2", "prterun-head-7@0.0;tcp4://127.0.0.1:37761")


def peer(node: str, reached: str) -> Peer:
    """A rank on a node that connected to an address of rank 0."""

    class Connection:
        def getsockname(self) -> tuple[str, int]:
            return reached, 1

    return Peer(1, "host", cast(Any, Connection()), node)


def test_three_ranks_of_one_node_know_the_store_and_each_other() -> None:
    with ThreadPoolExecutor(3) as pool:
        ranks = [pool.submit(rendezvous, Launch("openmpi", 3, rank, rank, 3, 0, 1), None, 60) for rank in range(3)]
        zero, one, two = [rank.result() for rank in ranks]
    assert zero.store is not None
    assert (zero.port, sorted(zero.peers), list(one.peers), list(two.peers)) == (zero.store.port, [1, 2], [0], [0])
    for found in (zero, one, two):
        assert (found.address, found.port, found.nodes, found.reached) == (LOOPBACK, zero.port, [0, 0, 0], LOOPBACK)


def test_one_rank_holds_a_store_and_waits_for_nobody() -> None:
    found = rendezvous(Launch("torchrun", 1, 0, 0, 1, 0, 1), None, 60)
    assert found.store is not None
    assert (found.address, found.port, found.nodes, found.peers) == (LOOPBACK, found.store.port, [0], {})


@pytest.mark.parametrize(("rank", "says"), [(1, True), (2, False)])
def test_of_the_ranks_that_look_for_rank_zero_one_says_that_it_waits(
    rank: int, says: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "FIRST_LINE_S", 0.0)
    monkeypatch.setattr(module, "as_other", lambda find, rank, wait: wait.over(lambda: [0]))
    rendezvous(Launch("openmpi", 3, rank, rank, 3, 0, 1), None, 60)
    assert [line.partition(" after")[0] for line in caplog.messages] == ["still waiting for rank 0"] * says


def test_nodes_are_numbered_as_their_lowest_ranks_are() -> None:
    near, far = peer("b", "127.0.0.1"), peer("a", "10.0.0.5")
    assert on_nodes("b", {3: far, 1: far, 2: near}, "head") == ([0, 1, 0, 1], "10.0.0.5")


def test_on_one_node_rank_zero_is_reached_where_it_was_told_to_be() -> None:
    assert on_nodes("b", {1: peer("b", "127.0.0.1")}, "head") == ([0, 0], "head")


def test_gradients_go_by_the_interface_on_the_way_to_rank_zero() -> None:
    route_gradients("127.0.0.1", None)
    assert [os.environ.get(name) for name in INTERFACES] == ["lo", None]


def test_gradients_go_by_the_interface_that_the_user_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    route_gradients("127.0.0.1", None)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"
    route_gradients("127.0.0.1", "ib0")
    assert [os.environ[name] for name in INTERFACES] == ["ib0", "ib0"]


def test_a_store_takes_the_port_that_it_is_given_or_says_that_it_is_taken() -> None:
    with closing(socket.create_server(("", 0))) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(UsageError, match=f"MASTER_PORT is {port}, which is taken on"):
            open_store(2, 1, port)
    assert open_store(2, 1, port).port == port


def test_where_there_is_no_port_nobody_is_told_of_one_that_was_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise torch.distributed.DistNetworkError("too many open files")

    monkeypatch.setattr(torch.distributed, "TCPStore", refuse)
    with pytest.raises(UsageError, match=r"no port can be opened on .* for torch's store: too many open files"):
        open_store(2, 1)


IPV6_ONLY = """
set -e
ip link set lo up
ip link add lan0 type veth peer name lan1
ip address add fd00::5/64 dev lan0 nodad
ip link set lan0 up
ip link set lan1 up
exec "$0" "$@"
"""
TWO_RANKS = """
import json
from concurrent.futures import ThreadPoolExecutor
from lightning_app.launchers.launch import Launch
from lightning_app.rendezvous import places
from lightning_app.rendezvous.addresses import interface_of, own_address
from lightning_app.rendezvous.rendezvous import rendezvous
places.ask_mpi = lambda launch, timeout, offer=None: offers.append(offer) if offer else offers[0]
offers = []
ranks = [Launch("openmpi", 2, rank, 0, 1, None, None) for rank in range(2)]
with ThreadPoolExecutor(2) as pool:
    zero = pool.submit(rendezvous, ranks[0], None, 60)
    while not offers and not zero.done():
        pass
    found = pool.submit(rendezvous, ranks[1], None, 60).result()
from torch.distributed import TCPStore
TCPStore(found.address, found.port, is_master=False, wait_for_workers=False).set("key", "value")
print(json.dumps([own_address(), found.address, interface_of(found.reached), zero.result().store.get("key").decode()]))
"""


@pytest.mark.slow
def test_hosts_that_have_ipv6_only() -> None:
    namespace = ["unshare", "--net", "sh", "-c", IPV6_ONLY]
    if os.geteuid() or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("a network namespace needs root, iproute2 and util-linux")
    done = subprocess.run(
        [*namespace, sys.executable, "-c", TWO_RANKS], cwd=REPOSITORY, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["fd00::5", "fd00::5", "lan0", "value"]
