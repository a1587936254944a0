"""What the program prints while it runs: plain lines on standard error, from rank 0 only."""

from __future__ import annotations

import logging
import warnings

OURS = ("lightning_app", "models", "datamodules")
KNOWN_WARNINGS = (  # each with the reason why it does not matter
    # metrics.csv is beside TensorBoard's events and config.yaml, so its folder is never empty.
    "Experiment logs directory .* exists and is not empty",
    # Our loaders yield positions: worker processes would have nothing to do.
    "The '.*_dataloader' does not have many workers",
    # __main__ has already read the command line.
    "LightningCLI's args parameter is intended",
    # The plan that we log says what is used and why.
    "The `srun` command is available on your system but is not used",
    # torchmetrics has already summed over the ranks.
    "It is recommended to use `self.log\\('(val|test)/",
    # We lower it to the steps of an epoch, except with limit_train_batches, which asks for less than an epoch.
    "The number of training batches .* is smaller than the logging interval",
    # Those callbacks belong to fit: test and predict do not need them.
    "Be aware that when using `ckpt_path`, callbacks used to create",
    # A data set may have no validation images, and what bench trains on has none.
    "Total length of `list` across ranks is zero",
    # lightning 2.6.6 with torch >= 2.13
    ".*isinstance\\(treespec, LeafSpec\\)",
    "torch.distributed.nn.functional.all_gather is deprecated",
)


def configure_logging(rank: int, debug: bool) -> None:
    """Show our packages' messages, and Lightning's only when something is wrong (or with --debug)."""
    level = logging.INFO if rank == 0 else logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    if not debug:
        quiet_lightning()


def quiet_lightning() -> None:
    """Silence Lightning's information, and warnings about what we do on purpose or about its internals."""
    for message in KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    import lightning.pytorch  # noqa: F401 - here, because it sets its level when it is imported

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
