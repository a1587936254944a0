"""An error that a library raises for an option is one line; errors in our code or a user's are not hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.imports import RequirementCache

from lightning_app.cli.library_errors import option_error
from lightning_app.errors import UsageError

WEIGHTS = [torch.nn.Parameter(torch.ones(1))]


def raised(action: Callable[[], Any]) -> Exception:
    """What it raises, with its traceback."""
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def of_a_library() -> None:
    torch.optim.SGD(WEIGHTS, lr=-1.0)


def of_a_user() -> None:
    raise ValueError("of a callback of the user's")


def of_the_ranks() -> None:
    torch.distributed.init_process_group("no such backend", rank=0, world_size=1, store=None)


def test_what_a_library_raises_before_the_first_step_is_a_line_and_later_it_is_not() -> None:
    error = raised(of_a_library)
    shown = option_error(error, began=False)
    assert isinstance(shown, UsageError)
    assert str(shown).startswith("Invalid learning rate: -1.0.")
    assert "--debug shows the traceback" in str(shown)
    assert option_error(error, began=True) is None


def test_a_misconfiguration_is_one_line_at_any_time() -> None:
    shown = option_error(MisconfigurationException("two\n   lines."), began=True)
    assert str(shown) == "two lines. Change or leave out that option (--debug shows the traceback)."


@pytest.mark.parametrize("action", [of_a_user, of_the_ranks])
def test_what_others_raise_keeps_its_traceback(action: Callable[[], None]) -> None:
    assert option_error(raised(action), began=False) is None


@pytest.mark.parametrize("error", [UsageError("ours"), OSError("a disk's")])
def test_an_error_that_says_enough_stays_as_it_is(error: Exception) -> None:
    assert option_error(error, began=False) is None


@pytest.mark.parametrize("around", ["{}", "`Monitor` cannot log, as it is not installed. {} "])
def test_a_missing_package_is_named_with_how_to_install_it(around: str) -> None:
    missing = RequirementCache("no_such_package>=1.2", "no_such_module")
    shown = str(option_error(MisconfigurationException(around.format(missing)), began=False))
    assert "HINT" not in shown
    assert shown.endswith("Install it: pip install 'no_such_package>=1.2' (--debug shows the traceback).")


def test_of_a_class_that_an_option_names_its_own_reason_is_shown() -> None:
    """jsonargparse lists all types that the option accepts, and a Namespace with all its defaults."""
    raised = MisconfigurationException(
        "Does not validate against any of the Union subtypes\nSubtypes: [<class 'Logger'>, <class 'bool'>]\nErrors:\n"
        "  - Problem with given class_path 'lightning.pytorch.loggers.WandbLogger':\n      No account.\n"
        "  - Expected a <class 'bool'>\nGiven value type: <class 'Namespace'>\nGiven value: Namespace(class_path=...)"
    )
    assert str(option_error(raised, began=False)) == (
        "lightning.pytorch.loggers.WandbLogger cannot be created: No account. Change or leave out that option (--debug "
        "shows the traceback)."
    )
