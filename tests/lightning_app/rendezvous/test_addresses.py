"""Addresses of this host, and of the first host of a SLURM step."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lightning_app.errors import UsageError
from lightning_app.rendezvous import addresses
from lightning_app.rendezvous.addresses import (
    interface_address,
    interface_of,
    node_identity,
    outgoing_address,
    own_address,
    slurm_first_host,
    slurm_nodes,
)


def test_the_loopback_has_its_address() -> None:
    assert interface_address("lo") == "127.0.0.1"
    assert interface_of("127.0.0.1") == "lo"
    assert outgoing_address("127.0.0.1") == "127.0.0.1"


def test_an_interface_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(
        UsageError, match=r"interface ib7 is not on .* or has no address; those with one are .*lo \(127\.0\.0\.1\)"
    ):
        interface_address("ib7")


def test_an_address_that_nobody_here_has_is_on_no_interface() -> None:
    assert interface_of("192.0.2.77") is None


def test_a_name_that_cannot_be_resolved_has_no_way_to_it() -> None:
    assert outgoing_address("no-such-host.invalid") is None


# Our addresses on the routes to somewhere else, by examples of somewhere else (RFC 5737, RFC 3849).
IPV4, IPV6 = {"192.0.2.1": "10.1.0.5"}, {"2001:db8::1": "fd01::5"}
LO, IB0 = {"lo": ["127.0.0.1", "::1"]}, {"ib0": ["10.2.0.5", "fd00::5"]}


@pytest.mark.parametrize(
    ("hostname", "routes", "interfaces", "expected"),
    [
        pytest.param("10.0.0.5", IPV4 | IPV6, LO | IB0, "10.0.0.5", id="the hostname's"),
        pytest.param("127.0.1.1", IPV4 | IPV6, LO | IB0, "10.1.0.5", id="as on Debian"),
        pytest.param("127.0.1.1", IPV6, LO | IB0, "fd01::5", id="a default route for IPv6 only"),
        pytest.param(None, IPV4, LO, "10.1.0.5", id="a hostname that is nobody's"),
        pytest.param("::1", {}, LO | {"ib0": ["fd00::5"]}, "fd00::5", id="IPv6 only"),
        pytest.param("127.0.1.1", {}, LO | IB0, "10.2.0.5", id="no default route"),
    ],
)
def test_our_address_for_others_is_none_that_only_we_can_reach(
    hostname: str | None,
    routes: dict[str, str],
    interfaces: dict[str, list[str]],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addresses, "resolve", lambda host: [(socket.AF_INET, (hostname, 9))] if hostname else [])
    monkeypatch.setattr(addresses, "outgoing_address", routes.get)
    monkeypatch.setattr(addresses, "interface_addresses", lambda: interfaces)
    assert own_address() == expected


def test_a_host_without_a_network_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "resolve", lambda host: [(socket.AF_INET, ("127.0.1.1", 9))])
    monkeypatch.setattr(addresses, "outgoing_address", lambda toward: None)
    monkeypatch.setattr(addresses, "interface_addresses", lambda: {"lo": ["127.0.0.1"]})
    with pytest.raises(UsageError, match="no address that another node could reach; set MASTER_ADDR"):
        own_address()


def test_the_first_host_of_a_step_is_that_of_its_own_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "resolve", lambda host: [(socket.AF_INET, ("10.0.0.9", 9))])
    environ = {"SLURM_STEP_NODELIST": "gpu[09-11,20]", "SLURM_JOB_NODELIST": "gpu[01-20]"}
    assert slurm_first_host(environ) == "gpu09"


def test_rank_0_of_an_arbitrary_distribution_is_where_the_user_s_file_begins(tmp_path: Path) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("gpu20\ngpu09\ngpu10\n")
    step = {"SLURM_STEP_NODELIST": "gpu[09-10,20]", "SLURM_HOSTFILE": str(hostfile)}
    assert slurm_nodes(step) == "gpu[09-10,20]"  # the file of another step
    arbitrary = step | {"SLURM_DISTRIBUTION": "arbitrary"}
    assert slurm_nodes(arbitrary) == "gpu20"
    hostfile.unlink()
    with pytest.raises(UsageError, match=r"SLURM_HOSTFILE .*hosts, which says where rank 0 is, cannot be read"):
        slurm_nodes(arbitrary)
    del arbitrary["SLURM_HOSTFILE"]
    assert slurm_nodes(arbitrary | {"SLURM_ARBITRARY_NODELIST": "gpu[20,09-10]"}) == "gpu[20,09-10]"


def test_a_node_that_cannot_be_resolved_is_asked_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$4" = n1 ] && echo "NodeName=n1 NodeAddr=10.0.0.9 NodeHostName=x"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(addresses, "resolve", lambda host: [])
    assert slurm_first_host({"SLURM_STEP_NODELIST": "n[1-2]"}) == "10.0.0.9"


def test_the_identity_of_a_node_is_one_word() -> None:
    assert " " not in node_identity()
    assert node_identity() == node_identity()
