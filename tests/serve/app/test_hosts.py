"""Which names and which pages a request may come with."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from serve.app.hosts import Hosts


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:7860", True),
        ("127.0.0.1", True),
        ("[::1]:7860", True),
        ("192.0.2.7:7860", True),  # an address cannot be rebound
        ("Demo.Example.org", True),
        ("evil.example:7860", False),
        ("localhost.evil.example", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_a_name_that_nobody_gave_this_server_is_refused(host: str, known: bool) -> None:
    hosts = Hosts("127.0.0.1", ("demo.example.org",))
    assert (hosts.fault("GET", Headers({"host": host})) is None) is known


@pytest.mark.parametrize(
    ("origin", "more", "known"),
    [
        ("http://127.0.0.1:7860", {}, True),
        ("http://127.0.0.1:9999", {}, False),  # somebody else's page on this machine
        ("http://localhost:7860", {}, False),
        ("https://evil.example", {}, False),
        ("null", {}, False),
        ("https://demo.example.org", {}, True),
        ("https://portal.example.org", {"x-forwarded-host": "portal.example.org"}, True),
    ],
)
def test_only_our_own_page_may_change_anything(origin: str, more: dict[str, str], known: bool) -> None:
    hosts = Hosts("127.0.0.1", ("demo.example.org",))
    headers = Headers({"host": "127.0.0.1:7860", "origin": origin, **more})
    assert (hosts.fault("POST", headers) is None) is known
    assert hosts.fault("GET", headers) is None
