"""The options of the program beside those of Trainer, model and data."""

from __future__ import annotations

from typing import Literal

from lightning.pytorch.cli import LightningArgumentParser

from lightning_app.checkpointing.schedule import SavingOptions
from lightning_app.errors import UsageError


def add_options(parser: LightningArgumentParser) -> None:
    """Add them to the parser of a verb."""
    parser.add_argument("--name", default="run", help="Name of the run: its folder is <runs_dir>/<name>/<version>.")
    parser.add_argument("--runs_dir", default="runs", help="Where runs are kept.")
    parser.add_argument("--ema_decay", type=float, default=0.999, help="Of the averaged weights; 0 averages nothing.")
    parser.add_argument(
        "--resume",
        default="auto",
        help="Where fit begins: `auto` goes on with an unfinished run of this name and these options, `never` "
        "begins anew, the path of a checkpoint or of a run's folder goes on from there in a folder of its own, also "
        "with more trainer.max_epochs or max_steps where the schedule has no end.",
    )
    parser.add_argument(
        "--on_nan",
        type=Literal["stop", "skip"],
        default="stop",
        help="When a loss is NaN or infinite: stop and name the images, or skip the batch.",
    )
    parser.add_class_arguments(SavingOptions, "checkpoint")
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    parser.link_arguments("seed_everything", "data.seed", compute_fn=data_seed)


def data_seed(seed: bool | int) -> int:
    """The seed of split, order and augmentation.

    Raises:
        UsageError: `seed_everything: true` asks for a random seed, which no two ranks would agree on.
    """
    if seed is True:
        raise UsageError("--seed_everything true draws a seed of its own on every rank; give a number instead.")
    return int(seed)
