"""What the program prints: rank 0's messages, and every warning that is not known to be harmless."""

from __future__ import annotations

import logging
import warnings

import pytest

from lightning_app.cli.console import configure_logging, quiet_lightning

KNOWN = [  # as Lightning and torch say it
    "Experiment logs directory runs/a/version_0 exists and is not empty. Previous log files are overwritten",
    "The 'train_dataloader' does not have many workers which may be a bottleneck.",
    "It is recommended to use `self.log('val/acc', ..., sync_dist=True)` when logging on epoch level",
    "The number of training batches (3) is smaller than the logging interval Trainer(log_every_n_steps=50).",
    "`isinstance(treespec, LeafSpec)` is deprecated, use `isinstance(treespec, TreeSpec) and treespec.is_leaf()`",
]
UNKNOWN = [
    "Experiment logs directory runs/a/version_0 cannot be written",
    "It is recommended to use `self.log('train/acc', ..., sync_dist=True)` when logging on epoch level",
    "the image is truncated",
]


def test_only_known_warnings_are_not_shown() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        quiet_lightning()
        for message in (*KNOWN, *UNKNOWN):
            warnings.warn(message, stacklevel=1)
    assert [str(each.message) for each in shown] == UNKNOWN


@pytest.mark.parametrize(("rank", "said"), [(0, ["news", "trouble"]), (1, ["trouble"])])
def test_rank_zero_says_what_happens_and_every_rank_what_goes_wrong(
    rank: int, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(rank, debug=True)
    for name in ("lightning_app.x", "models.x", "datamodules.x"):
        logging.getLogger(name).info("news")
        logging.getLogger(name).warning("trouble")
    printed = capsys.readouterr()
    assert (printed.err.split(), printed.out) == (3 * said, "")
