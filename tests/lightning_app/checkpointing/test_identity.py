"""Which options identify a run."""

from __future__ import annotations

from typing import Any

from lightning_app.checkpointing.identity import RunIdentity, in_words

CONFIG: dict[str, Any] = {
    "name": "a",
    "seed_everything": 7,
    "data": {"cache_dir": "/tmp", "batch_size": 64},
    "trainer": {"devices": 2, "strategy": "ddp", "max_epochs": 3, "logger": {"class_path": "X"}},
    "checkpoint": {"keep": 3, "monitor": "val/loss"},
    "hang": {"minutes": 3.0, "then": "end"},
}


def test_machine_and_logging_are_not_part_of_a_run_but_seed_and_choice_of_the_best_are() -> None:
    assert RunIdentity.of(CONFIG).dump() == {
        "checkpoint.monitor": '"val/loss"',
        "data.batch_size": "64",
        "seed_everything": "7",
        "trainer.max_epochs": "3",
    }


def test_it_is_one_value_whatever_the_order_and_however_it_was_saved() -> None:
    backwards = RunIdentity.of(dict(reversed(CONFIG.items())))
    assert backwards == RunIdentity.of(CONFIG) == RunIdentity.load(backwards.dump())
    assert backwards.digest == RunIdentity.of(CONFIG).digest
    assert RunIdentity.of(CONFIG | {"seed_everything": 8}).digest != backwards.digest


def test_differences_name_what_is_there_and_here() -> None:
    theirs, ours = RunIdentity.of({"a": 1, "b": 2, "only_there": "x"}), RunIdentity.of({"a": 1, "b": 3})
    assert theirs.differences(ours) == {"b": ("2", "3"), "only_there": ('"x"', "unset")}
    assert in_words(theirs.differences(ours)) == 'b is 2 there and 3 here; only_there is "x" there and unset here'
    many = RunIdentity.of(dict.fromkeys("abcdefg", 1)).differences(RunIdentity.of({}))
    assert in_words(many).endswith("e is 1 there and unset here; and 2 more")
