"""LightningCLI for fit, validate, test and predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from datamodules.images import ImageData
from lightning_app.callbacks.batch_norm import AverageBatchStatistics
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.pictures import Pictures
from lightning_app.callbacks.plain_progress import PlainProgress
from lightning_app.callbacks.reseed import Reseed
from lightning_app.callbacks.throughput import Throughput
from lightning_app.errors import UsageError
from lightning_app.launch import this_launch
from lightning_app.predictions import gather_predictions, write_predictions
from lightning_app.report import Run, leave_behind
from lightning_app.trainer import Trainer
from models.classifier import ImageClassifier


class CLI(LightningCLI):
    """Trains and measures an ImageClassifier on ImageData; adds the run's folder and its callbacks."""

    def __init__(self, args: list[str], started: float) -> None:
        self.started = started
        super().__init__(
            ImageClassifier,
            ImageData,
            trainer_class=Trainer,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            trainer_defaults={"enable_model_summary": False, "num_sanity_val_steps": 0},
            save_config_callback=SaveConfigCallback,
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", default="run", help="Name of the run: its folder is <runs_dir>/<name>/<version>.")
        parser.add_argument("--runs_dir", default="runs", help="Where runs are kept.")
        parser.add_argument(
            "--ema_decay", type=float, default=0.999, help="Of the averaged weights; 0 averages nothing."
        )
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=data_seed)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Lightning's, with our loggers and callbacks where the user named none."""
        config = self._get(self.config_init, "trainer")
        if self.subcommand != "fit":
            self.save_config_callback = None  # it would write config.yaml into the working directory
        self.throughput = Throughput()
        kwargs["callbacks"] = [*(config.callbacks or []), *self._callbacks()]
        if config.logger is None:
            kwargs["logger"] = self._loggers() if self.subcommand == "fit" else False
        return super().instantiate_trainer(**kwargs)

    def _callbacks(self) -> list[pl.Callback]:
        # mpirun gives its ranks a terminal, but what they print is no place for a bar.
        on_terminal = sys.stdout.isatty() and not this_launch().external
        progress = TQDMProgressBar() if on_terminal else PlainProgress()
        if self.subcommand != "fit":
            return [progress]
        ema_decay = self._get(self.config_init, "ema_decay")
        return [
            progress,
            Reseed(self.datamodule.seed),
            *([EMA(ema_decay)] if ema_decay else []),
            AverageBatchStatistics(),
            self.throughput,
            Pictures(),
            LearningRateMonitor(logging_interval="step"),
            *self._checkpoints(),
        ]

    def _checkpoints(self) -> list[pl.Callback]:
        """The best on validation data, never chosen by the test set, and the last.

        Not by save_last: lightning 2.6.6 writes that only when there is a new best.
        """
        last = ModelCheckpoint(filename="last")
        if not len(self.datamodule.rows["val"]):
            return [last]
        return [ModelCheckpoint(filename="best", monitor="val/acc", mode="max"), last]

    def _loggers(self) -> list:
        name, runs_dir = self._get(self.config_init, "name"), self._get(self.config_init, "runs_dir")
        tensorboard = TensorBoardLogger(runs_dir, name=name, default_hp_metric=False)
        return [tensorboard, CSVLogger(runs_dir, name=name, version=tensorboard.version)]

    def after_predict(self) -> None:
        """Write predictions.csv into the run's folder of the checkpoint, or here where none was given."""
        predictions = gather_predictions(self.trainer.predict_loop.predictions)
        if self.trainer.is_global_zero:
            checkpoint = self._get(self.config_init, "ckpt_path")
            folder = Path(checkpoint).parent.parent if checkpoint else Path()
            packed = self.datamodule.packed
            write_predictions(folder / "predictions.csv", predictions, packed.names(), packed.classes)
            print(f"{len(predictions)} predictions in {folder / 'predictions.csv'}")

    def after_fit(self) -> None:
        """Test once, with the weights that validation chose, and leave everything behind."""
        trainer, model = self.trainer, self.model
        checkpoint = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if checkpoint:
            # Loaded by hand: trainer.test(ckpt_path=...) on this trainer would undo the averaging.
            state = torch.load(checkpoint, map_location=model.device, weights_only=True)["state_dict"]
            model.load_state_dict(state)
        if len(self.datamodule.rows["test"]):
            trainer.test(model, datamodule=self.datamodule, verbose=False)
        folder = trainer.log_dir  # asks rank 0, so every rank has to come here
        if trainer.is_global_zero and folder:
            leave_behind(Run(trainer, model, self.datamodule, Path(folder), self.throughput.median, self.started))


def data_seed(seed: bool | int) -> int:
    """The seed of split, order and augmentation.

    Raises:
        UsageError: `seed_everything: true` asks for a random seed, which no two ranks would agree on.
    """
    if seed is True:
        raise UsageError("--seed_everything true draws a seed of its own on every rank; give a number instead.")
    return int(seed)
