"""Lines over a connection arrive whole, one at a time."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from lightning_app.rendezvous.connections import read_line, receive, send_line

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_line_is_read_without_its_end_and_without_a_byte_of_the_next(pair: Pair) -> None:
    ours, theirs = pair
    for line in ("welcome", "", "\u732b"):
        send_line(theirs, line)
    assert [read_line(ours) for _ in range(2)] == ["welcome", ""]
    assert receive(ours) == "\u732b\n".encode()


def test_a_line_may_be_longer_than_what_arrives_at_once_but_not_than_its_limit(pair: Pair) -> None:
    ours, theirs = pair
    line = "ab" * 5000
    send_line(theirs, line)
    assert read_line(ours) == line
    send_line(theirs, line)
    assert 9 <= len(read_line(ours, longest=9)) < len(line)


def test_half_a_line_of_one_that_is_gone_is_no_line(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"half")
    theirs.close()
    assert (read_line(ours), receive(ours)) == ("", b"")
