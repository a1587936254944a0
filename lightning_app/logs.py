"""What the program says while it works: plain lines on standard error, from rank 0 only."""

from __future__ import annotations

import logging
import os
import warnings

OURS = ("lightning_app", "models", "datamodules")


def configure_logging(debug: bool) -> None:
    """Let our own packages speak, Lightning only when something is wrong (or under --debug)."""
    level = logging.INFO if os.environ.get("LOCAL_RANK", "0") == "0" else logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    if not debug:
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        quiet_known_warnings()


def quiet_known_warnings() -> None:
    """Warnings about what we do on purpose, and about Lightning's own insides."""
    # metrics.csv lies beside TensorBoard's events and config.yaml, so its folder is never empty.
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
    # Our loaders yield positions: there is nothing for worker processes to do.
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")
    # lightning 2.6.6 with torch >= 2.13
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")
