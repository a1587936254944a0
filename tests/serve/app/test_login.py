"""Wrong passwords cost time, one after another."""

from __future__ import annotations

import asyncio

import pytest

import serve.app.login
from serve.app.login import ATTEMPTS, FIRST_DELAY, Login


def test_each_wrong_password_takes_twice_as_long_and_a_right_one_ends_that(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds / FIRST_DELAY)

    monkeypatch.setattr(serve.app.login.asyncio, "sleep", sleep)

    async def guess() -> list[bool]:
        login = Login("ann", "right", 1)
        passwords = [*["wrong"] * 7, "right", "wrong"]
        found = [await login.check("10.0.0.1", "ann", password) for password in passwords]
        return [*found, await login.check("10.0.0.2", "bob", "right")]

    assert asyncio.run(guess()) == [False] * 7 + [True, False, False]
    assert slept == [1, 2, 4, 8, 16, 32, 32, 1, 1]


def test_guesses_at_once_wait_for_one_another_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0

    async def sleep(seconds: float, real=asyncio.sleep) -> None:  # type: ignore[no-untyped-def]
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await real(0)
        under_way -= 1

    async def guess() -> list[bool]:
        login = Login("ann", "right", 1)
        with monkeypatch.context() as patch:
            patch.setattr(serve.app.login.asyncio, "sleep", sleep)
            passwords = ["wrong"] * ATTEMPTS + ["right"]
            return await asyncio.gather(*(login.check("10.0.0.1", "ann", password) for password in passwords))

    assert asyncio.run(guess()) == [False] * (ATTEMPTS + 1)
    assert most == 1
