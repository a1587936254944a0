"""How long ranks wait, and what they print meanwhile."""

from __future__ import annotations

import logging
import math

import pytest

from lightning_app.errors import UsageError
from lightning_app.rendezvous import waiting
from lightning_app.rendezvous.waiting import TIMEOUT_VARIABLE, Waiting, connect_timeout, in_words, missing_message


class Clock:
    """Time, as a test sets it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(waiting, "time", clock := Clock())
    return clock


def test_the_timeout_is_five_minutes_or_the_variable_s() -> None:
    assert connect_timeout({}) == 300
    assert connect_timeout({}, default=math.inf) == math.inf
    assert connect_timeout({TIMEOUT_VARIABLE: "2.5"}, default=math.inf) == 2.5


@pytest.mark.parametrize("said", ["", "soon", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_no_number_of_seconds_is_an_error(said: str) -> None:
    with pytest.raises(UsageError, match=f"{TIMEOUT_VARIABLE} is {said!r}; expected a number of seconds"):
        connect_timeout({TIMEOUT_VARIABLE: said})


def test_who_is_awaited_is_said_after_half_a_minute_and_then_every_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    wait = Waiting(timeout=100)
    over = []
    for clock.now in range(1000, 1120):
        over.append(wait.over(lambda: [3, 5]))
    assert [record.message for record in caplog.records] == [
        f"still waiting for rank 3, 5 after {seconds} s of at most 100 ({TIMEOUT_VARIABLE})" for seconds in (30, 90)
    ]
    assert over.index(True) == 101


def test_a_wait_without_a_limit_names_none_and_a_quiet_one_says_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    waits = [Waiting(math.inf), Waiting(math.inf, quiet=True)]
    clock.now += 36_000
    assert [wait.over(lambda: [1]) for wait in waits] == [False, False]
    assert caplog.messages == ["still waiting for rank 1 after 36000 s"]


def test_a_wait_ends_when_the_check_raises() -> None:
    def check() -> None:
        raise UsageError("a child has ended")

    with pytest.raises(UsageError, match="a child has ended"):
        Waiting(100, check).over(lambda: [1])


def test_the_message_names_the_missing_ranks_and_the_variable() -> None:
    message = missing_message([1, 2, 3, 5], world_size=8, timeout=300)
    assert message.startswith("4 of 8 ranks did not report within 300 s: rank 1-3, 5. ")
    assert f"set {TIMEOUT_VARIABLE} to more seconds" in message


@pytest.mark.parametrize(
    ("ranks", "words"),
    [([4], "4"), ([1, 2], "1, 2"), ([1, 2, 3, 7, 9, 10], "1-3, 7, 9, 10"), (range(1, 1000), "1-999")],
)
def test_runs_of_ranks_are_short(ranks: list[int], words: str) -> None:
    assert in_words(ranks) == words


def test_lines_while_waiting_are_warnings_so_that_ranks_other_than_0_print_them_too(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    wait = Waiting(math.inf)
    clock.now += 31
    wait.over(lambda: [0])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
