"""prepare: fetch and pack what a fit needs, once, where there is a network.

It takes the options of fit, so that the one command line is the other with the verb changed.
"""

from __future__ import annotations

import logging
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from datamodules.images import ImageData
from datamodules.packed import verify
from lightning_app.cli import CLI
from lightning_app.logs import configure_logging
from lightning_app.recipes import resolve_configs
from models.classifier import ImageClassifier

VERIFY = "--verify"
HELP = f"""\
usage: python -m lightning_app prepare [{VERIFY}] [the options of fit]

Download and pack the data, and download the weights, that a fit with these options needs. Run it once on a login
node: compute nodes then need no network. Run it from the same folder as the fit, with the same home directory (the
weights lie in torch's cache, ~/.cache/torch, or $TORCH_HOME).

  {VERIFY}   also read the packed images from end to end and compare their checksums

  python -m lightning_app prepare --config configs/cifar10.yaml
"""


class FitOptions(CLI):
    """Reads the command line of a fit, and makes nothing of it."""

    def instantiate_classes(self) -> None:
        """A login node may have no GPU, and need not be what the Trainer wants."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing."""


def prepare(args: list[str]) -> None:
    """Fetch, pack, check, and say what is where."""
    if {"-h", "--help"} & set(args):
        print(HELP)
        return
    configure_logging(rank=0, debug=False)
    options = fit_options([arg for arg in args if arg != VERIFY])
    data: ImageData = instantiate(ImageData, options.data)
    packed = data.packed
    if VERIFY in args:
        verify(packed)
    log = logging.getLogger(__name__)
    log.info(f"data: {packed.folder}, {len(packed.labels):,} images of {len(packed.classes)} classes, ready")
    if VERIFY in args:
        log.info("data: every checksum is right")
    # Not only downloaded: weights that do not fit the backbone are found here too.
    options.model.num_classes = data.num_classes
    instantiate(ImageClassifier, options.model)
    log.info("A fit with these options needs no network now.")


def fit_options(args: list[str]) -> Namespace:
    """What fit would make of these options."""
    return FitOptions(["fit", *resolve_configs(args)], started=0.0).config.fit


def instantiate(kind: type, options: Namespace) -> Any:
    """An object of a class from its parsed options."""
    parser = ArgumentParser()
    parser.add_class_arguments(kind, "it")
    return parser.instantiate_classes(parser.parse_object({"it": options.as_dict()})).it
