"""prepare: download and pack what a fit needs, once, where there is a network.

It takes the options of fit, so that you only change the verb.
"""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, Any

from lightning_app.cli.console import configure_logging

if TYPE_CHECKING:
    from jsonargparse import Namespace

VERIFY, CLEAN = "--verify", "--clean"
HELP = f"""\
usage: python -m lightning_app prepare [{VERIFY}] [{CLEAN}] [the options of fit]

Download and pack the data, and download the weights, that a fit with these options needs. Run it once on a login
node: compute nodes then need no network. Run it from the same folder as the fit, with the same home directory (the
weights are in torch's cache, ~/.cache/torch, or $TORCH_HOME).

  {VERIFY}   also read the packed images from end to end and compare their checksums
  {CLEAN}    also remove all other packed data sets from data.cache_dir: a fit that needs one packs it again

  python -m lightning_app prepare --config configs/cifar10.yaml
"""


def prepare(args: list[str]) -> None:
    """Download, pack, check, and print where everything is."""
    if {"-h", "--help"} & set(args):
        print(HELP)
        return
    configure_logging(rank=0, debug=False)
    fetch([arg for arg in args if arg not in (VERIFY, CLEAN)], VERIFY in args, CLEAN in args)


def fetch(args: list[str], every_checksum: bool, clean: bool) -> None:
    """Download and pack, importing what is slow to import."""
    from datamodules.datamodule import ImageData
    from datamodules.packed_cache import other_caches, verify
    from lightning_app.cli.cli import fit_options
    from lightning_app.cli.model_class import import_model

    options = fit_options(args)
    data: ImageData = instantiate(ImageData, options.data)
    packed, _ = data.packed, data.indices  # which logs its splits
    if every_checksum:
        verify(packed)
    log = logging.getLogger(__name__)
    log.info(f"data: {packed.folder}, {len(packed.labels):,} images of {len(packed.classes)} classes, ready")
    if every_checksum:
        log.info("data: all checksums match")
    if clean:
        for folder, size in other_caches(packed).items():
            shutil.rmtree(folder)
            log.info(f"removed {folder}, {size / 1e6:,.0f} MB")
    # Not only downloaded: weights that do not fit the backbone are detected here too.
    options.model.num_classes = data.num_classes
    instantiate(import_model(options.model_class), options.model)
    log.info("A fit with these options needs no network now.")


def instantiate(kind: type, options: Namespace) -> Any:
    """Build an object from its parsed class path and options."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_class_arguments(kind, "it")
    return parser.instantiate_classes(parser.parse_object({"it": options.as_dict()})).it
