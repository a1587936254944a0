"""What counts as a hang, and who is named."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from queue import Queue

import pytest

from lightning_app.errors import UsageError
from lightning_app.failure.hang_watch import (
    HangOptions,
    HangWatch,
    IdleTime,
    Position,
    Progress,
    stack_of,
    stacks,
    who_did_not_come,
)

LIMIT = 10.0
BACKWARD = ['  File "/env/torch/autograd/graph.py", line 824, in _engine_run_backward']
READING = ['  File "/env/datamodules/packed.py", line 7, in read']


def trained(steps: int, seconds: float = 0.0, limit: float = LIMIT) -> IdleTime:
    """After steps that each took one check, and as many seconds before without progress."""
    idle = IdleTime(limit)
    for step in range(steps + 1):
        idle.look(Progress(step, step, 0), 1.0)
        if seconds:
            idle.look(Progress(step, step, 0), seconds)
    return idle


def looks(idle: IdleTime, progress: Progress, seconds: int) -> list[int]:
    """The seconds at which nothing but this progress is a hang, of looks once a second."""
    return [second for second in range(1, seconds + 1) if idle.look(progress, 1.0)]


def test_no_progress_for_the_limit_is_a_hang() -> None:
    assert looks(trained(3), Progress(3, 3, 0), 12) == [10, 11, 12]


def test_the_first_steps_may_take_any_time() -> None:
    assert looks(trained(2), Progress(2, 2, 0), 100) == []


def test_three_times_the_longest_step_is_no_hang_yet() -> None:
    idle = trained(3, seconds=5.0)
    assert idle.limit == 15.0
    idle.look(Progress(4, 4, 0), 1.0)
    assert looks(idle, Progress(4, 4, 0), 16) == [15, 16]


def test_what_comes_before_the_first_batch_is_no_step() -> None:
    idle = IdleTime(LIMIT)
    looks(idle, Progress(0, 0, 0), 100)
    idle.look(Progress(1, 0, 0), 1.0)
    assert idle.limit == LIMIT


@pytest.mark.parametrize("progress", [Progress(4, 3, 0), Progress(3, 3, 1)])
def test_data_that_comes_and_batches_of_evaluation_are_progress(progress: Progress) -> None:
    idle = trained(3)
    looks(idle, Progress(3, 3, 0), 9)
    assert looks(idle, progress, 9) == []


def test_a_hang_that_is_over_does_not_make_the_next_one_take_longer() -> None:
    idle = trained(3)
    looks(idle, Progress(3, 3, 0), 100)
    assert not idle.look(Progress(4, 3, 0), 1.0)
    assert idle.limit == LIMIT


def test_a_rank_that_gives_no_answer_is_named_before_all_others() -> None:
    said = who_did_not_come({(0, "a"): Position(9, 5, BACKWARD), (1, "b"): Position(9, 4, READING), (2, "c"): None})
    assert said.startswith("rank 2 on c does not answer")
    assert "SIGSTOP" in said


def test_of_ranks_that_answer_the_one_with_fewer_batches_is_named() -> None:
    found = {(0, "a"): Position(9, 5, READING), (1, "b"): Position(9, 4, READING), (2, "c"): Position(9, 5, BACKWARD)}
    assert who_did_not_come(found).startswith("rank 1 on b did not reach")


def test_with_as_many_batches_the_one_that_does_not_wait_for_others_is_named() -> None:
    found = {(0, "a"): Position(9, 5, READING), (1, "b"): Position(9, 5, BACKWARD)}
    assert who_did_not_come(found).startswith("rank 0 on a did not reach")


def test_where_all_stand_alike_nobody_is_named() -> None:
    found = {(rank, "a"): Position(9, 5, BACKWARD) for rank in range(3)}
    assert who_did_not_come(found).startswith("All ranks answer")
    assert stacks(found) == ["rank 0-2 at:\n" + BACKWARD[0]]


def test_a_single_process_says_where_it_stands() -> None:
    assert who_did_not_come({(0, "a"): Position(9, 5, READING)}) == "This process makes no progress."


@pytest.fixture
def waiting() -> Iterator[int]:
    """A thread that waits in this file, by its number."""
    there, over = threading.Event(), threading.Event()

    def stand_here() -> None:
        there.set()
        over.wait()

    thread = threading.Thread(target=stand_here)
    thread.start()
    there.wait()
    assert thread.ident
    yield thread.ident
    over.set()
    thread.join()


def test_a_stack_is_that_of_the_thread_with_its_innermost_frame_last(waiting: int) -> None:
    names = [line.rpartition(" in ")[2] for line in stack_of(waiting)]
    assert names.index("_bootstrap") < names.index("stand_here")


@pytest.mark.parametrize("rank", [0, 1])
def test_the_watch_says_once_where_this_process_stands_and_ends_the_job_if_told_to(
    rank: int, caplog: pytest.LogCaptureFixture
) -> None:
    ended: Queue[str] = Queue()
    steps = iter([*range(6)])
    progress = lambda: Progress(step := next(steps, 5), step, 0)  # noqa: E731
    peers: dict[tuple[int, str], Position | None] = {(1 - rank, "b"): None}
    watch = HangWatch(HangOptions(0.001, then="end"), progress, rank, lambda seconds: peers, ended.put)
    line = ended.get(timeout=60)
    watch.close()
    assert f"s. rank {1 - rank} on b does not answer" in line
    [said] = caplog.messages
    assert said.startswith(line)
    assert f"rank {rank} at:" in said
    assert ", in test_the_watch_says_once_where_this_process_stands_and_ends_the_job_if_told_to" in said


def test_the_ranks_of_a_report_are_in_order_whenever_they_answered(caplog: pytest.LogCaptureFixture) -> None:
    ended: Queue[str] = Queue()
    steps = iter([*range(6)])
    progress = lambda: Progress(step := next(steps, 5), step, 0)  # noqa: E731
    peers = {(2, "c"): Position(9, 4, READING), (1, "b"): Position(9, 4, BACKWARD)}
    watch = HangWatch(HangOptions(0.001, then="end"), progress, 0, lambda seconds: peers, ended.put)
    assert "s. rank 1 on b, rank 2 on c did not reach" in ended.get(timeout=60)
    watch.close()
    assert re.findall(r"^rank (\d) at:$", caplog.text, re.MULTILINE) == ["0", "1", "2"]


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_no_time_is_refused(minutes: float) -> None:
    with pytest.raises(UsageError, match="expected a number above 0"):
        HangOptions(minutes)
