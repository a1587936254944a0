"""Clients take turns, and no client can fill the queue."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serve.app import fair_queue
from serve.app.fair_queue import Busy, FairQueue, Turns, one_thread


def test_clients_take_turns_whoever_asked_more_often() -> None:
    async def serve() -> list[str]:
        queue, gate, order = FairQueue(one_thread), threading.Event(), []
        asked = [queue.run("greedy", gate.wait)]
        asked += [queue.run("greedy", lambda number=number: order.append(f"greedy {number}")) for number in range(3)]
        asked += [queue.run(name, lambda name=name: order.append(name)) for name in ("ann", "bob", "ann")]
        tasks = [asyncio.ensure_future(each) for each in asked]
        await asyncio.sleep(0)  # all have asked
        gate.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(serve()) == ["greedy 0", "ann", "bob", "greedy 1", "ann", "greedy 2"]


def test_one_client_may_wait_for_its_share_and_all_for_the_capacity() -> None:
    async def serve() -> list[object]:
        queue, gate = FairQueue(one_thread, capacity=3, share=2), threading.Event()
        clients = ["first", "greedy", "greedy", "greedy", "ann", "bob"]
        tasks = [asyncio.ensure_future(queue.run(client, gate.wait)) for client in clients]
        await asyncio.sleep(0)
        gate.set()
        return [type(found) for found in await asyncio.gather(*tasks, return_exceptions=True)]

    assert asyncio.run(serve()) == [bool, bool, bool, Busy, bool, Busy]


def test_what_nobody_waits_for_any_more_is_not_done_and_an_error_is_its_clients_alone() -> None:
    async def serve() -> list[object]:
        queue, gate, done = FairQueue(one_thread), threading.Event(), []
        running = asyncio.ensure_future(queue.run("ann", gate.wait))
        left = asyncio.ensure_future(queue.run("ann", lambda: done.append("left")))
        failing = asyncio.ensure_future(queue.run("ann", lambda: 1 / 0))
        last = asyncio.ensure_future(queue.run("bob", lambda: done.append("last")))
        await asyncio.sleep(0)
        left.cancel()
        gate.set()
        with pytest.raises(ZeroDivisionError):
            await failing
        await asyncio.gather(running, last)
        return done

    assert asyncio.run(serve()) == ["last"]


def test_a_client_does_one_thing_at_a_time_up_to_its_share_and_then_nothing_is_kept_of_it() -> None:
    async def serve() -> tuple[list[str], list[object], list[object]]:
        turns, gate, order = Turns(share=2), asyncio.Event(), []

        async def visit(client: str, name: str) -> None:
            async with turns.turn(client):
                order.append(name)
                await gate.wait()

        asked = [("greedy", "first"), ("greedy", "second"), ("greedy", "third"), ("ann", "other")]
        tasks = [asyncio.ensure_future(visit(*each)) for each in asked]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # the one that is refused
        await asyncio.sleep(0)
        before = list(order)
        gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert order == ["first", "other", "second"]
        return before, [type(each) for each in found], [*turns.present, *turns.locks]

    assert asyncio.run(serve()) == (["first", "other"], [type(None), type(None), Busy, type(None)], [])


@pytest.mark.parametrize(("clients", "rests"), [(["ann", "ann", "ann"], 0), (["bob", "ann", "ann", "ann"], 2)])
def test_a_client_with_more_to_do_rests_between_its_turns_where_others_came(
    clients: list[str], rests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def serve() -> None:
        turns, gate = Turns(rest=3.0), asyncio.Event()

        async def visit(client: str) -> None:
            async with turns.turn(client):
                await gate.wait()

        async def open_gate() -> None:  # when all have come
            gate.set()

        await asyncio.gather(*(visit(client) for client in clients), open_gate())

    monkeypatch.setattr(fair_queue.asyncio, "sleep", sleep)
    asyncio.run(serve())
    assert len(slept) == rests
