"""LightningCLI for fit, validate, test and predict."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback

from datamodules.datamodule import ImageData
from lightning_app.callbacks.batch_statistics import AverageBatchStatistics
from lightning_app.callbacks.ema import EMA
from lightning_app.callbacks.non_finite import LossWatch, SkipNonFinite
from lightning_app.callbacks.progress_bar import Bar
from lightning_app.callbacks.progress_lines import PlainProgress
from lightning_app.callbacks.rank_state import RankState
from lightning_app.callbacks.reseed import Reseed
from lightning_app.callbacks.step_boundary import StepBoundary
from lightning_app.callbacks.tensorboard_images import Pictures
from lightning_app.callbacks.throughput import Throughput
from lightning_app.checkpointing.checkpoint_io import CheckpointError, ChecksummedIO, read_checkpoint, step_file
from lightning_app.checkpointing.run_directory import CHECKPOINTS, RunsFolder, Start, flatten, identity
from lightning_app.checkpointing.schedule import SavingOptions
from lightning_app.checkpointing.store import Checkpoints
from lightning_app.cli.checks import check_batches, check_sides
from lightning_app.cli.parser import Parser
from lightning_app.errors import Finished, UsageError
from lightning_app.files import DISK_ERRORS
from lightning_app.launchers.detection import this_launch
from lightning_app.library.own_process import NeedsOwnProcess, is_own_process
from lightning_app.results.finished_run import FinishedRun
from lightning_app.results.hparams import hparams
from lightning_app.results.loggers import run_loggers
from lightning_app.results.predictions import gather_predictions, write_predictions
from lightning_app.results.write_results import write_results
from lightning_app.trainer.strategy import LocalEnvironment, RankedDDPStrategy
from lightning_app.trainer.trainer import Trainer, as_list
from models.classifier import ImageClassifier
from models.errors import ModelError
from models.weights import check_fit

log = logging.getLogger(__name__)
# Tells the processes that a local ddp run starts where to begin.
START_VARIABLE = "LIGHTNING_APP_START"


class CLI(LightningCLI):
    """Trains and measures an ImageClassifier on ImageData; adds the run's folder and its callbacks."""

    def __init__(self, args: list[str], started: float) -> None:
        self.started = started
        self.runs: RunsFolder | None = None
        try:
            self._run(args)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            then = "the same command then goes on from the newest checkpoint" if self.runs else "then try again"
            raise UsageError(
                f"{error.filename or 'the run'} cannot be written ({error.strerror}). Mend that; {then}."
            ) from error
        finally:
            if self.runs:
                self.runs.let_go()
                self.boundary.signals.restore()

    def _run(self, args: list[str]) -> None:
        """Parse, build and run, as LightningCLI does in its constructor."""
        super().__init__(
            ImageClassifier,
            ImageData,
            trainer_class=Trainer,
            parser_class=Parser,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            trainer_defaults={"enable_model_summary": False, "num_sanity_val_steps": 0},
            save_config_callback=SaveConfigCallback,
            save_config_kwargs={"overwrite": True},  # by a later attempt; the folder is ours
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", default="run", help="Name of the run: its folder is <runs_dir>/<name>/<version>.")
        parser.add_argument("--runs_dir", default="runs", help="Where runs are kept.")
        parser.add_argument(
            "--ema_decay", type=float, default=0.999, help="Of the averaged weights; 0 averages nothing."
        )
        parser.add_argument(
            "--resume",
            default="auto",
            help="Where fit begins: `auto` goes on with an unfinished run of this name and these options, `never` "
            "begins anew, the path of a checkpoint goes on from there in a folder of its own.",
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

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, but how fit resumes is --resume alone: ckpt_path would let the file override the options."""
        verbs = LightningCLI.subcommands()
        return verbs | {"fit": verbs["fit"] | {"ckpt_path", "weights_only"}}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Lightning's, which then unpickles a checkpoint: so look at its checksum before."""
        super().parse_arguments(parser, args)
        verb = self.config.subcommand
        checkpoint = self.config[verb].get("ckpt_path")
        if checkpoint:
            read_checkpoint(Path(checkpoint))
        elif verb != "fit":
            raise UsageError(
                f"{verb} needs a checkpoint, or it would be of weights that nobody trained: --ckpt_path "
                "runs/<name>/<version>/checkpoints/best.ckpt"
            )

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Lightning's, with our loggers and callbacks where the user named none."""
        config = self._get(self.config_init, "trainer")
        if self.subcommand != "fit":
            self.save_config_callback = None  # it would write config.yaml into the working directory
        self.throughput = Throughput()
        self.io = ChecksummedIO()
        own = as_list(config.callbacks)
        first, *others = self._callbacks()
        kwargs["callbacks"] = [first, *own, *others]
        kwargs["plugins"] = [*as_list(config.plugins), self.io]
        # Without it, Lightning adds a ModelCheckpoint beside ours.
        kwargs["enable_checkpointing"] = any(isinstance(callback, Checkpoint) for callback in own)
        if config.logger is None:
            kwargs["logger"] = False  # before_fit gives fit its own: their folder is not yet known
        return super().instantiate_trainer(**kwargs)

    def _callbacks(self) -> list[pl.Callback]:
        # mpirun gives its ranks a terminal, but what they print is no place for a bar.
        on_terminal = sys.stdout.isatty() and not this_launch().external
        progress = Bar() if on_terminal else PlainProgress()
        if self.subcommand != "fit":
            return [progress]
        ema_decay = self._get(self.config_init, "ema_decay")
        skip = self._get(self.config_init, "on_nan") == "skip"
        watch = None if skip else LossWatch()
        self.options = identity(json.loads(self.parser.dump(self.config, skip_none=False, format="json"))["fit"])
        options = json.dumps(self.options)
        self.checkpoints = Checkpoints(self.io, self._get(self.config_init, "checkpoint"), options)
        self.boundary = StepBoundary(self.checkpoints, options, watch)
        self.boundary.facts["data"] = self.datamodule.packed.content
        return [
            self.boundary,
            progress,
            Reseed(self.datamodule.seed),
            *([EMA(ema_decay)] if ema_decay else []),
            RankState(),
            AverageBatchStatistics(),
            watch or SkipNonFinite(),
            self.throughput,
            Pictures(),
            LearningRateMonitor(logging_interval="step"),
        ]

    def before_fit(self) -> None:
        """Decide where to begin: on rank 0 alone, for it is the one that writes."""
        launch = this_launch()
        # Lightning sets it without declaring it, and makes max_epochs 1.
        if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            check_sides(self.datamodule, self.trainer.max_epochs)
        check_batches(self.datamodule, self.model, launch.world_size if launch.external else self.trainer.num_devices)
        log_every_epoch(self.trainer, self.datamodule.steps_per_epoch)
        require_own_process(self.trainer)
        if isinstance(self.trainer.strategy, RankedDDPStrategy):
            self.trainer.strategy.take_port()
        name, runs_dir = self._get(self.config_init, "name"), self._get(self.config_init, "runs_dir")
        job = os.environ.get("SLURM_JOB_ID"), "SLURM_RESTART_COUNT" in os.environ
        self.runs = runs = RunsFolder(Path(runs_dir) / name, self.options, self._check_fit, *job)
        resume = self._get(self.config_init, "resume")
        self.start = start = agreed_start(self.trainer, lambda: runs.start(resume))
        if start.finished:
            raise Finished
        self.folder = runs.version(start.version)
        self.checkpoints.folder = self.folder / CHECKPOINTS
        self.trainer.ckpt_path = start.checkpoint
        if self._get(self.config_init, "trainer").logger is None:
            self.trainer.loggers = run_loggers(runs_dir, name, start, lambda: self.trainer.current_epoch)

    def _check_fit(self, checkpoint: dict[str, Any], path: Path) -> None:
        theirs, packed = checkpoint["run"].get("data"), self.datamodule.packed
        if theirs not in (None, packed.content):  # None: written before this was noted
            raise CheckpointError(
                f"{path} was trained on other data: its images, labels, classes and splits were {theirs}, those in "
                f"{packed.folder} are {packed.content}. Put back the data that it began with."
            )
        try:
            check_fit(self.model.state_dict(), checkpoint["state_dict"], set(), str(path))
        except ModelError as error:
            raise CheckpointError(str(error)) from error

    def before_validate(self) -> None:
        require_own_process(self.trainer)

    before_test = before_predict = before_validate

    def after_predict(self) -> None:
        """Write predictions.csv into the run's folder of the checkpoint."""
        predictions = gather_predictions(self.trainer.predict_loop.predictions)
        if self.trainer.is_global_zero:
            file = Path(self._get(self.config_init, "ckpt_path")).parent.parent / "predictions.csv"
            packed = self.datamodule.packed
            try:
                write_predictions(file, predictions, packed.names(), packed.classes)
            except OSError as error:
                raise UsageError(f"{file} cannot be written ({error.strerror}); mend that and try again.") from error
            print(f"{len(predictions)} predictions in {file}")

    def after_fit(self) -> None:
        """Test once, with the weights that validation chose, and leave everything behind."""
        trainer, model = self.trainer, self.model
        trainer.ckpt_path = None  # else the test would load it again
        epoch, step = self._load_chosen()
        if len(self.datamodule.rows["test"]):
            trainer.test(model, datamodule=self.datamodule, verbose=False)
        if trainer.is_global_zero:
            speed, facts = self.throughput.median, self._hparams()
            write_results(
                FinishedRun(trainer, model, self.datamodule, self.folder, epoch, step, speed, self.started, facts)
            )
            assert self.runs is not None
            self.runs.finish(self.start.version)

    def _hparams(self) -> dict[str, Any]:
        """What distinguishes this run from others."""
        parser = self._parser("fit")
        defaults = json.loads(parser.dump(parser.get_defaults(), skip_none=False, format="json"))
        options = json.loads(self.parser.dump(self.config, skip_none=False, format="json"))["fit"]
        chosen = {"world_size": self.trainer.world_size, "precision": str(self.trainer.precision)}
        return hparams(dict(flatten(options)), dict(flatten(defaults))) | chosen

    def _load_chosen(self) -> tuple[int, int]:
        """Load the weights of the best validation, or the last ones where nothing was validated.

        By hand: trainer.test(ckpt_path=...) on this trainer would undo the averaging.

        Returns:
            Epochs and optimizer steps that are behind these weights.
        """
        best, last = self.boundary.best_step, self.trainer.global_step
        for step in (last if best is None else best, last):
            try:
                checkpoint = read_checkpoint(step_file(self.checkpoints.folder, step))
            except CheckpointError as error:
                if self.trainer.is_global_zero:
                    log.warning(f"{error} Testing the last weights instead.")
                continue
            self.model.load_state_dict(checkpoint["state_dict"])
            self.model.results.update(checkpoint.get("results", {}))  # what validation found with these weights
            return checkpoint["epoch"], checkpoint["global_step"]
        return self.trainer.current_epoch, last


def require_own_process(trainer: pl.Trainer) -> None:
    """Raise NeedsOwnProcess where Lightning would start ranks with a command line that is not ours."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    starts_ranks = isinstance(environment, LocalEnvironment) and not environment.creates_processes_externally
    if starts_ranks and trainer.num_devices > 1 and not is_own_process():
        log.info("ddp: this process runs another program, so the ranks are started as processes of their own")
        raise NeedsOwnProcess


def agreed_start(trainer: pl.Trainer, decide: Callable[[], Start]) -> Start:
    """What rank 0 decides, on every rank; what it raises too."""
    launch = this_launch()
    if launch.launcher == "lightning":
        return Start.loads(os.environ[START_VARIABLE])
    if launch.external:
        trainer.strategy.setup_environment()  # the ranks have to meet now, and not only in fit
    decision: Start | UsageError | None = None
    if trainer.is_global_zero:
        try:
            decision = decide()
        except UsageError as error:
            decision = error
    decision = trainer.strategy.broadcast(decision) if launch.external else decision
    if isinstance(decision, UsageError):
        raise decision
    assert decision is not None
    os.environ[START_VARIABLE] = decision.dumps()
    return decision


def log_every_epoch(trainer: pl.Trainer, steps: int) -> None:
    """Let no epoch, of so many steps, pass without a training loss.

    Raises:
        UsageError: it never logs.
    """
    if trainer.log_every_n_steps < 1:  # type: ignore[attr-defined]  # set by a connector
        raise UsageError(f"--trainer.log_every_n_steps is {trainer.log_every_n_steps}; expected 1 or more.")  # type: ignore[attr-defined]
    if trainer.log_every_n_steps > steps:  # type: ignore[attr-defined]  # set by a connector
        log.info(f"log_every_n_steps: {steps} instead of {trainer.log_every_n_steps} (an epoch has no more)")  # type: ignore[attr-defined]
        trainer.log_every_n_steps = steps  # type: ignore[attr-defined]


def data_seed(seed: bool | int) -> int:
    """The seed of split, order and augmentation.

    Raises:
        UsageError: `seed_everything: true` asks for a random seed, which no two ranks would agree on.
    """
    if seed is True:
        raise UsageError("--seed_everything true draws a seed of its own on every rank; give a number instead.")
    return int(seed)
