"""What a library raises for an option is one line; what our code or a user's raises is not hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_app.cli.library_errors import option_error
from lightning_app.cli.option_checks import check_callbacks, check_monitor
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


def test_a_missing_package_is_named_with_how_to_install_it() -> None:
    shown = option_error(MisconfigurationException("`DeviceStatsMonitor` requires `psutil`"), began=False)
    assert "Install it: pip install psutil" in str(shown)


@pytest.mark.parametrize("kind", [EarlyStopping, ModelCheckpoint])
def test_a_monitor_that_nobody_logs_is_refused_with_the_metrics_there_are(kind: type) -> None:
    with pytest.raises(UsageError, match=rf"{kind.__name__}'s monitor is val_loss; .*did you mean val/loss"):
        check_callbacks([kind(monitor="val_loss")])
    check_callbacks([kind(monitor="val/loss")])


def test_a_callback_of_the_users_own_may_log_what_is_monitored() -> None:
    class Own(EarlyStopping):
        """Logs something."""

    check_monitor("EarlyStopping's monitor", "mine", [Own(monitor="mine")])
