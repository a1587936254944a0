"""LightningCLI's parser, whose errors are one message instead of a page of usage."""

from __future__ import annotations

from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lightning_app.errors import UsageError


class Parser(LightningArgumentParser):
    """Raises a UsageError for options that cannot be had."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # jsonargparse tries something, and catches it
            super().error(message, ex)
        if isinstance(ex, UsageError):
            raise ex
        verb = self.prog.split()[-1]
        raise UsageError(f"{message}\nThe options are shown by: python -m lightning_app {verb} --help") from ex
