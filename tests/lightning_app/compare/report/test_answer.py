"""The sentence says what the data say, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from invented_comparison import by_round, content, everything, rank, run, uneven, whole

from lightning_app.compare.report.answer import NOTHING, answer, caveats
from lightning_app.compare.report.comparison import Comparison


def said(runs: list[dict[str, Any]], **changes: Any) -> str:
    return answer(Comparison.of(content(runs, **{"unavailable": []} | changes)))


def cautions(runs: list[dict[str, Any]]) -> list[str]:
    return caveats(Comparison.of(content(runs, unavailable=[])))


def test_whole_runs_with_three_seeds_give_speed_cost_and_accuracy_with_their_intervals() -> None:
    # 100/60, 101/61 and 102/62; two cores for 1/1.656 of the time.
    assert answer(Comparison.of(everything())) == (
        "ddp:2 trains 1.66 times as fast as cpu:1 (1.65 to 1.67 over 3 seeds), for 1.21 times the core-hours; "
        "accuracy: no difference found (3 seeds; -0.6 to +0.4 points)."
    )


def test_of_one_seed_no_range_and_no_claim() -> None:
    # Seed 1 alone is in both: 130 / 60 s.
    assert answer(Comparison.of(uneven())).startswith(
        "ddp:2 was 2.17 times as fast as cpu:1 in one seed, so without a range, for 0.92 times the core-hours; "
        "accuracy: no claim from 1 seed ("
    )


def test_counted_steps_alone_say_nothing_of_accuracy() -> None:
    steps = [each for each in uneven()["runs"] if each["part"] == "steps"]
    assert said(steps) == (
        "ddp:2 takes training steps 2.25 times as fast as cpu:1 (2.00 to 2.50 over 2 rounds), for 0.89 times the "
        "core-hours; accuracy was not compared."
    )


def test_a_mode_that_was_slower_in_one_round_is_not_called_faster() -> None:
    runs = [*by_round("cpu:1", [[2.0]], [[2.0]]), *by_round("ddp:2", [[1.0], [1.0]], [[2.5], [2.5]])]
    assert said(runs).startswith(
        "no mode was faster than cpu:1 in every round: ddp:2 at 1.40 times its speed (0.80 to 2"
    )


def test_a_real_difference_of_accuracy_is_stated_with_both() -> None:
    runs = [whole("cpu:1", seed, 9600 + seed) for seed in range(3)]
    runs += [whole("ddp:2", seed, 9300 + seed, 50.0) for seed in range(3)]
    assert "accuracy: 93.01% (92.49 to 93.49) instead of 96.01% (95.61 to 96.38) (3 seeds)." in said(runs)


def test_devices_of_unlike_kind_have_no_common_cost() -> None:
    gpu = [each | {"ranks": [each["ranks"][0] | {"device": "H100"}]} for each in by_round("gpu", [[0.1]], [[0.1]])]
    assert ", on 1 GPU instead of cores; " in said([*by_round("cpu:1", [[2.0]], [[2.0]]), *gpu])


def test_what_has_nothing_in_common_is_not_compared() -> None:
    assert said(by_round("cpu:1", [[2.0]])) == NOTHING
    assert said([*by_round("cpu:1", [[2.0]]), whole("ddp:2", 0, 9600)]) == NOTHING
    there = [each | {"machine": "there"} for each in by_round("ddp:2", [[1.0], [1.0]])]
    machines = everything()["machines"] | {"there": everything()["machines"]["here"]}
    assert said([*by_round("cpu:1", [[2.0]]), *there], machines=machines) == NOTHING


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (by_round("cpu:1", [[2.0]]), "Counted steps come from one round"),
        ([run("steps", "ddp:2", 0, [], failed="out of memory")], "ddp:2 did not run: out of memory."),
        # 4/2 and 8/4 in the two rounds.
        (
            uneven()["runs"],
            "of 2 equal processes at once, the slowest took 2.00 times as long as the fastest (serial:2)",
        ),
        (
            [run("steps", "original", 0, [rank(1.0)]), run("steps", "cpu:1", 0, [rank(1.0, precision="bf16-mixed")])],
            "different precisions (original 32-true, cpu:1 bf16-mixed)",
        ),
        ([run("steps", "cpu:1", 0, [rank(1.0)], other_cores=0.9)], "Other work kept up to 0.9 cores busy"),
        (
            [run("steps", "cpu:1", 0, [rank(1.0)], earlier_failures=[{"date": "", "failed": "x"}] * 2)],
            "2 attempts failed before the runs shown here.",
        ),
        (
            [run("steps", "cpu:1", 0, [rank(1.0)], git="a"), run("steps", "cpu:1", 1, [rank(1.0)], git="b")],
            "come from 2 revisions of the code: a, b.",
        ),
        ([run("steps", "cpu:1", 0, [rank(1.0)], git="a+")], "had uncommitted changes (a+)"),
    ],
)
def test_what_limits_the_answer_is_said(runs: list[dict[str, Any]], expected: str) -> None:
    assert len([each for each in cautions(runs) if expected in each]) == 1


def test_a_clean_comparison_has_no_caveat() -> None:
    steps = {"precision": "bf16-mixed"}
    runs = [run("steps", mode, each, [rank(1.0, **steps)]) for mode in ("cpu:1", "cpu:2") for each in range(2)]
    assert cautions(runs) == []
