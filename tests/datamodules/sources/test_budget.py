"""Threads never take more bytes at once than there are, and one that wants more still gets its turn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Lock

import pytest

from datamodules.sources.budget import Budget


def test_no_more_is_taken_at_once_than_there_is() -> None:
    budget, lock, taken, most = Budget(10), Lock(), 0, 0

    def work(amount: int) -> None:
        nonlocal taken, most
        with budget.take(amount):
            with lock:
                taken += min(amount, 10)
                most = max(most, taken)
            with lock:
                taken -= min(amount, 10)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [3, 4, 25, 7, 1, 10] * 50))
    assert (most <= 10, budget.free) == (True, 10)


def test_what_fits_together_goes_on_together_and_no_more() -> None:
    def meet(amount: int, barrier: Barrier) -> None:
        with budget.take(amount):
            barrier.wait()

    budget = Budget(10)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(meet, [5, 5], [Barrier(2, timeout=30)] * 2))
        with pytest.raises(BrokenBarrierError):
            list(pool.map(meet, [5, 6], [Barrier(2, timeout=0.2)] * 2))


def test_what_fails_gives_back_what_it_took() -> None:
    budget = Budget(10)
    with pytest.raises(ValueError, match="broken"), budget.take(7):
        raise ValueError("broken")
    assert budget.free == 10
