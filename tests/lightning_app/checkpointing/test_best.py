"""Which validation is the best."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_app.checkpointing.best import BestChoice, Mode
from lightning_app.checkpointing.checkpoint_io import best_file
from lightning_app.checkpointing.schedule import SavingOptions
from lightning_app.errors import UsageError

# Loss and accuracy disagree: each order of them has another best validation.
VALIDATIONS = [
    {"val/loss": 0.9, "val/acc": 0.50, "train/loss": 0.1},
    {"val/loss": 0.3, "val/acc": 0.70, "train/loss": 0.2},
    {"val/loss": 0.8, "val/acc": 0.75, "train/loss": 0.3},
    {"val/loss": 0.4, "val/acc": 0.60, "train/loss": 0.4},
]


def best_of(monitor: str, mode: Mode, validations: list[dict[str, float]] = VALIDATIONS) -> str | None:
    """The file that is chosen of these validations."""
    choice = BestChoice(monitor, mode)
    for number, metrics in enumerate(validations):
        choice.offer({name: torch.tensor(value) for name, value in metrics.items()}, f"{number}")
    return choice.file


@pytest.mark.parametrize(
    ("monitor", "mode", "best"), [("val/acc", "max", "2"), ("val/loss", "min", "1"), ("train/loss", "min", "0")]
)
def test_the_best_has_the_highest_or_lowest_of_the_monitored_metric(monitor: str, mode: Mode, best: str) -> None:
    assert best_of(monitor, mode) == best


def test_by_default_the_accuracy_decides_and_not_the_loss() -> None:
    options = SavingOptions()
    assert best_of(options.monitor, options.mode) == "2"


def test_of_equals_the_last_is_the_best() -> None:
    assert best_of("val/acc", "max", [{"val/acc": 0.5}, {"val/acc": 0.5}, {"val/acc": 0.4}]) == "1"


@pytest.mark.parametrize("first", [math.nan, math.inf])
def test_a_value_that_is_no_finite_number_is_never_the_best(first: float) -> None:
    assert best_of("val/loss", "min", [{"val/loss": first}, {"val/loss": 2.0}]) == "1"
    assert best_of("val/loss", "min", [{"val/loss": first}]) is None


def test_without_validation_there_is_no_best_and_with_one_the_metric_has_to_be_there() -> None:
    assert best_of("val/acc", "max", [{"train/loss": 1.0}]) is None
    with pytest.raises(
        UsageError, match=r"checkpoint.monitor is val/f1, which was not logged; expected one of .*val/acc"
    ):
        best_of("val/f1", "max")


def test_the_choice_goes_on_from_what_was_saved() -> None:
    first, again = BestChoice("val/loss", "min"), BestChoice("val/loss", "min")
    assert first.offer({"val/loss": 0.5}, "a")
    again.load_state_dict(first.state_dict())
    assert not again.offer({"val/loss": 0.6}, "b")
    assert again.offer({"val/loss": 0.4}, "c")
    assert (again.file, again.score) == ("c", 0.4)


def test_a_loss_with_the_highest_as_the_best_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"would keep the worst checkpoint; add --checkpoint.mode min"):
        SavingOptions(monitor="val/loss")


def test_a_validation_within_an_accumulated_step_has_a_file_that_no_run_goes_on_from() -> None:
    assert best_file(7, within_a_step=False) == "step-00000007.ckpt"
    assert best_file(7, within_a_step=True) == "validated-00000007.ckpt"
