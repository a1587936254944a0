"""What a fit would make of a command line, without the fit."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lightning_app.cli.cli import CLI
from lightning_app.cli.config_files import resolve_configs


class FitOptions(CLI):
    """Reads the command line of a fit, and makes nothing of it."""

    def instantiate_classes(self) -> None:
        """A login node may have no GPU, and need not be what the Trainer wants."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing."""


def fit_options(args: list[str]) -> Namespace:
    """The options of a fit, with all that its configs and defaults say."""
    return FitOptions(["fit", *resolve_configs(args)], started=0.0).config.fit


def instantiate(kind: type, options: Namespace) -> Any:
    """An object of a class from its parsed options."""
    parser = ArgumentParser()
    parser.add_class_arguments(kind, "it")
    return parser.instantiate_classes(parser.parse_object({"it": options.as_dict()})).it
