"""validate, test and predict: apply a checkpoint's network to data."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from datamodules.errors import DataError
from lightning_app.checkpointing.named_checkpoint import named_checkpoint
from lightning_app.cli.fit_run import require_own_process
from lightning_app.cli.parser import RUN_NAME, RUNS_DIR, Parser, not_read
from lightning_app.cli.trained_on import TrainedOn, given
from lightning_app.errors import UsageError
from lightning_app.results.predictions import gather_predictions, write_predictions

log = logging.getLogger(__name__)
CHECKED = ("validate", "test", "predict")  # verbs that evaluate a checkpoint


class EvaluationCLI(LightningCLI):
    """A LightningCLI whose validate, test and predict start from the options of their checkpoint's run.

    Attributes:
        trained: what the checkpoint of this command records; empty for fit.
    """

    trained: TrainedOn

    def with_options_of_checkpoint(self, args: list[str]) -> list[str]:
        """A command line that starts with the options of its checkpoint's run; for fit, a checkpoint means --resume."""
        verb, *options = args
        if verb == "fit":
            return [verb, *as_resume(options)]
        path = named_on(options) if verb in CHECKED else None
        if path is None:
            return args
        self.trained = TrainedOn.read(path)
        if named := given(options, "model_class"):  # now: another class has other options, which would be the error
            self.trained.check_model({**self.trained.options, "model_class": named})
        log.info(f"checkpoint: {path}")
        return [verb, "--config", self.trained.as_config(), *options, "--ckpt_path", str(path)]

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Lightning's; but validate, test and predict need a checkpoint, and accept no other model."""
        assert isinstance(args, list)
        assert isinstance(parser, Parser)
        if ignored := not_read(os.environ):
            log.warning(ignored)
        verb = parser.verb = args[0]
        super().parse_arguments(parser, args)
        if verb not in CHECKED:
            return
        if not hasattr(self, "trained"):
            raise UsageError(
                f"{verb} needs a trained checkpoint: --ckpt_path best (of the newest run of --name), or "
                "runs/<name>/<version>/checkpoints/best.ckpt"
            )
        self.trained.check_model(self._options())
        self.config[verb].model.weights = "none"  # the checkpoint's weights will replace them

    def _parse_ckpt_path(self) -> None:
        """Replaces Lightning's, which lets a checkpoint silently override the given options (cli.py)."""

    def instantiate_classes(self) -> None:
        """Lightning's; data that predict cannot use may be images without labels."""
        try:
            super().instantiate_classes()
        except DataError as error:
            if self.config.subcommand != "predict":
                raise
            model = shlex.quote(str(self.trained.path.parent.parent / "model"))
            raise DataError(
                f"{error} For images without labels: python -m lightning_app label FOLDER --model {model}"
            ) from error

    def option(self, name: str) -> Any:
        """An option of this verb, with its classes instantiated."""
        return self._get(self.config_init, name)

    def _options(self) -> dict[str, Any]:
        """The options of this verb, as JSON."""
        return json.loads(self.parser.dump(self.config, skip_none=False, format="json"))[self.config.subcommand]

    def before_validate(self) -> None:
        self.before_test()
        if not self.trained.is_other_data(self.datamodule):
            self.trained.check_split(self._options())

    def before_test(self) -> None:
        self.trained.check_classes(self.datamodule)
        if self.trained.is_other_data(self.datamodule):
            log.info(f"data: {self.datamodule.packed.folder} is not the run's data, though it has the same classes")
        require_own_process(self.trainer)

    before_predict = before_test

    def after_predict(self) -> None:
        """Write the predictions into the checkpoint's run folder; those of other data beside predictions.csv."""
        predictions = gather_predictions(self.trainer.predict_loop.predictions)
        if self.trainer.is_global_zero:
            packed = self.datamodule.packed
            other = f"-{packed.folder.name}" if self.trained.is_other_data(self.datamodule) else ""
            file = Path(self.option("ckpt_path")).parent.parent / f"predictions{other}.csv"
            try:
                write_predictions(file, predictions, packed.names(), packed.classes)
            except OSError as error:
                raise UsageError(f"{file} cannot be written ({error.strerror}); fix that and try again.") from error
            print(f"{len(predictions)} predictions in {file}")


def named_on(options: Sequence[str]) -> Path | None:
    """The checkpoint that a command line names; None if it names none.

    Raises:
        CheckpointError: as named_checkpoint().
    """
    named = given(options, "ckpt_path")
    runs = Path(given(options, "runs_dir") or RUNS_DIR) / (given(options, "name") or RUN_NAME)
    return None if named is None else named_checkpoint(named, runs, "best")


def as_resume(options: Sequence[str]) -> list[str]:
    """A fit's options, with Lightning's --ckpt_path under our name for it."""
    renamed = [re.sub(r"^--ckpt_path(?==|$)", "--resume", option) for option in options]
    if renamed != list(options):
        log.info("--ckpt_path is --resume here")
    return renamed
