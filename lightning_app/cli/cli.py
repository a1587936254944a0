"""fit, with a folder for each run; validate, test and predict come from evaluation.py."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from datamodules.datamodule import ImageData
from lightning_app.callbacks.lightning_patches import progress_of
from lightning_app.callbacks.non_finite import LossWatch
from lightning_app.callbacks.step_boundary import StepBoundary
from lightning_app.callbacks.throughput import Throughput
from lightning_app.checkpointing.best import BestChoice
from lightning_app.checkpointing.checkpoint_io import ChecksummedIO
from lightning_app.checkpointing.identity import RunIdentity, flatten
from lightning_app.checkpointing.preemption import StopRequest, StopSignals
from lightning_app.checkpointing.run_directory import RunsFolder
from lightning_app.checkpointing.run_record import RunRecord
from lightning_app.checkpointing.store import Checkpoints
from lightning_app.cli.config_files import resolve_configs
from lightning_app.cli.evaluation import EvaluationCLI
from lightning_app.cli.fit_callbacks import fit_callbacks, only, our_progress, stdout_is_terminal
from lightning_app.cli.fit_run import FitRun, all_loggers, check_goes_on, require_own_process
from lightning_app.cli.library_errors import option_error
from lightning_app.cli.model_class import chosen_model
from lightning_app.cli.monitor_checks import Monitor, check_logged, check_validated, logs_more, monitors
from lightning_app.cli.option_checks import (
    check_averages,
    check_batches,
    check_sides,
    check_trainer_options,
    log_every_epoch,
)
from lightning_app.cli.parser import Parser, add_options
from lightning_app.errors import Finished, UsageError, UserError
from lightning_app.failure.handler import JOB
from lightning_app.failure.hang_watch import HangWatch
from lightning_app.files import DISK_ERRORS, replace_file
from lightning_app.launchers.detection import this_launch
from lightning_app.launchers.specs.slurm import allocation
from lightning_app.results.finished_run import FinishedRun
from lightning_app.results.hparams import hparams
from lightning_app.results.loggers import run_loggers
from lightning_app.results.write_results import write_results
from lightning_app.trainer.strategy import RankedDDPStrategy
from lightning_app.trainer.trainer import Trainer, as_list
from models.kernels.in_use import kernels_in_use


class CLI(EvaluationCLI):
    """Trains and evaluates an ImageClassifier on ImageData; adds the run's folder and its callbacks."""

    def __init__(self, args: list[str], started: float) -> None:
        self.started = started
        self.run: FitRun | None = None
        self.signals = StopSignals()
        self.hang_watch: HangWatch | None = None
        try:
            self._run(args)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            then = "the same command then resumes from the newest checkpoint" if self.run else "then try again"
            raise UsageError(
                f"{error.filename or 'the run'} cannot be written ({error.strerror}). Fix that; {then}."
            ) from error
        except Exception as error:
            began = self._began()
            mistake = option_error(error, began)
            if self.run and not began and self.trainer.is_global_zero and (mistake or isinstance(error, UserError)):
                self.run.discard()
            if mistake:
                raise mistake from error
            raise
        finally:
            if self.run:
                self.run.runs.let_go()
            self.signals.restore()
            if self.hang_watch:
                self.hang_watch.close()

    def _run(self, args: list[str]) -> None:
        """Parse, build and run, as LightningCLI does in its constructor."""
        self.verb = args[0]
        args = self.with_options_of_checkpoint(args)
        super().__init__(
            chosen_model(args[1:]),
            ImageData,
            trainer_class=Trainer,
            parser_class=Parser,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            trainer_defaults={"enable_model_summary": False, "num_sanity_val_steps": 0},
            save_config_callback=None,  # it would write into the logger's folder; ours writes into the run's
            args=args,
        )

    def _began(self) -> bool:
        """Whether an optimizer step has been taken, in this attempt or before."""
        trainer = getattr(self, "trainer", None)  # None: it could not be built
        return trainer is not None and trainer.global_step > (self.run.start.step if self.run else 0)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_options(parser)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning's is static
        """The verb that runs, and what its parser leaves out: the parsers of the other three would take about a second.

        Only --resume resumes a fit: ckpt_path would let the file override the options.
        """
        verbs = LightningCLI.subcommands()
        verbs["fit"] |= {"ckpt_path", "weights_only"}
        return {self.verb: verbs[self.verb]}

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Lightning's, with our progress and checkpoints; before_fit adds what depends on the run's folder."""
        if self.subcommand == "fit":
            self.signals.listen(signal.SIGUSR1)  # at once: its default is to end the process
        config = self.option("trainer")
        check_trainer_options(config)
        own = as_list(config.callbacks)
        if self.subcommand == "fit" and not logs_more(self.model, own):
            check_logged("checkpoint.monitor", self.option("checkpoint").monitor)
            for monitor in self._monitors():
                check_logged(monitor.what, monitor.metric)
        self.io = ChecksummedIO()
        kwargs["callbacks"] = [*own, *our_progress(config, own, on_terminal=stdout_is_terminal(this_launch().external))]
        kwargs["plugins"] = [*as_list(config.plugins), self.io]
        # Without it, Lightning adds a ModelCheckpoint beside ours.
        kwargs["enable_checkpointing"] = any(isinstance(callback, Checkpoint) for callback in own)
        if config.logger in (None, True):
            kwargs["logger"] = False  # before_fit gives fit its own, once their folder is known
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Check what can only be checked now, decide where to start, and add loggers and callbacks."""
        self._check()
        if isinstance(self.trainer.strategy, RankedDDPStrategy):
            self.trainer.strategy.take_port()
        watch = None if self.option("on_nan") == "skip" else LossWatch()
        # As in Lightning, a dev run keeps nothing: no folder, no log, no checkpoint.
        boundary = None if self.trainer.fast_dev_run else self._begin(watch)  # type: ignore[attr-defined]
        given = self.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
        seed, ema_decay, logs = self.datamodule.seed, self.option("ema_decay"), bool(self.trainer.loggers)
        self.trainer.callbacks = fit_callbacks(given, boundary, watch, seed, ema_decay, logs)  # type: ignore[attr-defined]
        self.hang_watch = JOB.watch_progress(self.option("hang"), lambda: progress_of(self.trainer))

    def _begin(self, watch: LossWatch | None) -> StepBoundary:
        """Decide where the run starts, and give it loggers; returns the object that saves its checkpoints."""
        identity = RunIdentity.of(self._options())
        job = allocation(os.environ)
        runs_dir, name = self.option("runs_dir"), self.option("name")
        check = check_goes_on(self.model, self.datamodule)
        runs = RunsFolder(Path(runs_dir) / name, identity, check, job, "SLURM_RESTART_COUNT" in os.environ)
        self.run = run = FitRun.begin(self.trainer, runs, self.option("resume"))
        self.trainer.ckpt_path = run.start.checkpoint
        ours = run_loggers(runs_dir, name, run.start, lambda: self.trainer.current_epoch)
        self.trainer.loggers = all_loggers(ours, self.option("trainer").logger)
        self._save_config(run.folder)
        return self._boundary(run, identity, RunRecord(identity.digest, job=job), watch)

    def _boundary(self, run: FitRun, identity: RunIdentity, record: RunRecord, watch: LossWatch | None) -> StepBoundary:
        """The callback that saves, chooses the best and stops."""
        options = self.option("checkpoint")
        return StepBoundary(
            Checkpoints(self.io, options, run.checkpoints, record),
            BestChoice(options.monitor, options.mode),
            StopRequest(self.signals, os.environ),
            watch,
            identity,
            {
                "data": self.datamodule.packed.content,
                "classes": self.datamodule.packed.classes,
                "kernels": kernels_in_use(),
            },
        )

    def _check(self) -> None:
        """Raise a UsageError if data, model, ranks and options do not fit together."""
        launch, callbacks = this_launch(), as_list(self.option("trainer").callbacks)
        check_averages(callbacks, self.option("ema_decay"))
        # Lightning sets it without declaring it, and sets max_epochs to 1.
        if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            check_sides(self.datamodule, self.trainer.max_epochs)
        check_batches(self.datamodule, self.model, launch.world_size if launch.external else self.trainer.num_devices)
        log_every_epoch(self.trainer, self.datamodule.steps_per_epoch)
        for monitor in self._monitors():
            check_validated(monitor, len(self.datamodule.indices["val"]), self.trainer)
        require_own_process(self.trainer)

    def _monitors(self) -> list[Monitor]:
        """What waits for a metric, besides the choice of the best checkpoint."""
        return list(monitors(as_list(self.option("trainer").callbacks), self._options()["model"].get("lr_scheduler")))

    def _save_config(self, folder: Path) -> None:
        """Write config.yaml, which fit can read again."""
        if self.trainer.is_global_zero:
            text = self._parser("fit").dump(self.config.fit, skip_none=False)
            replace_file(folder / "config.yaml", text.encode())

    @property
    def folder(self) -> Path:
        """The folder of the fit's run."""
        assert self.run is not None, "other verbs have none"
        return self.run.folder

    def after_fit(self) -> None:
        """Test once, with the weights that validation chose, and write all results."""
        trainer, model, run = self.trainer, self.model, self.run
        trainer.ckpt_path = None  # otherwise the test would load it again
        if run is None:
            trainer.test(model, datamodule=self.datamodule)
            raise Finished  # a dev run
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
        epoch, step = run.load_best(model, only(StepBoundary, callbacks).best, trainer)
        if len(self.datamodule.indices["test"]):
            trainer.test(model, datamodule=self.datamodule, verbose=False)
        if trainer.is_global_zero:
            speed, chosen = only(Throughput, callbacks).median, self._hparams()
            done = FinishedRun(trainer, model, self.datamodule, run.folder, epoch, step, speed, self.started, chosen)
            write_results(done)
            run.runs.finish(run.start.version)

    def _hparams(self) -> dict[str, Any]:
        """What distinguishes this run from others."""
        parser = self._parser("fit")
        defaults = json.loads(parser.dump(parser.get_defaults(), skip_none=False, format="json"))
        chosen = {"world_size": self.trainer.world_size, "precision": str(self.trainer.precision)}
        return hparams(dict(flatten(self._options())), dict(flatten(defaults))) | chosen


class FitOptions(CLI):
    """Parses the command line of a fit, and builds nothing: a login node may have no GPU."""

    def instantiate_classes(self) -> None: ...

    def _run_subcommand(self, subcommand: str) -> None: ...


def fit_options(args: list[str]) -> Namespace:
    """The options of a fit, including its configs and defaults."""
    return FitOptions(["fit", *resolve_configs(args)], started=0.0).config.fit
