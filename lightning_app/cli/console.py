"""What the program says while it works: plain lines on standard error, from rank 0 only."""

from __future__ import annotations

import logging
import warnings

OURS = ("lightning_app", "models", "datamodules")


def configure_logging(rank: int, debug: bool) -> None:
    """Let our own packages speak, Lightning only when something is wrong (or under --debug)."""
    level = logging.INFO if rank == 0 else logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    if not debug:
        quiet_known_warnings()
        import lightning.pytorch  # noqa: F401 - here, because it sets its level when it is imported

        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)


def quiet_known_warnings() -> None:
    """Warnings about what we do on purpose, and about Lightning's own insides."""
    # metrics.csv lies beside TensorBoard's events and config.yaml, so its folder is never empty.
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
    # Our loaders yield positions: there is nothing for worker processes to do.
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")
    # __main__ has seen the command line first.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
    # The plan that we log says what is used and why.
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
    # torchmetrics has summed over the ranks already.
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log\\('(val|test)/")
    # We lower it to the steps of an epoch, but for limit_train_batches, which asks for less than an epoch.
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    # Those callbacks are fit's: test and predict need none of them.
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks used to create")
    # lightning 2.6.6 with torch >= 2.13
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")
    warnings.filterwarnings("ignore", message="torch.distributed.nn.functional.all_gather is deprecated")
