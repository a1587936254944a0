"""Between two steps: whether to save, to stop, or to give up."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_app.callbacks.non_finite import LossWatch, all_finite
from lightning_app.checkpointing.consensus import NO_BATCH, Agreement, Votes
from lightning_app.checkpointing.preemption import TIME_LIMIT, Deadline, Preempted, StopSignals, job_deadline, requeue
from lightning_app.checkpointing.store import Checkpoints
from lightning_app.errors import UsageError
from lightning_app.provenance import cpu_name

log = logging.getLogger(__name__)
NAMES_IN_ERROR = 20


class StepBoundary(pl.Callback):
    """Saves checkpoints, stops when asked to, and gives up on a loss that is no number; all ranks do so together.

    A boundary is where the next batch begins: there all of the step before is over, its validation and its logging
    too. Comes first in the list of callbacks, before EMA ends training by putting the average into the model.

    Args:
        checkpoints: keeps and writes them.
        options: what makes the run what it is, kept in the checkpoint for whoever resumes it.
        watch: looks at the losses; None where bad batches are skipped.

    Attributes:
        best_step: of the best validation so far.
    """

    def __init__(self, checkpoints: Checkpoints, options: str, watch: LossWatch | None) -> None:
        self.checkpoints, self.watch = checkpoints, watch
        self.facts: dict[str, Any] = {"options": options}
        self.signals = StopSignals()
        self.signals.listen(signal.SIGUSR1)  # at once: what it does by default is to end the process
        self.deadline = Deadline(None)
        self.best_score: float | None = None
        self.best_step: int | None = None
        self.new_best = self.trained = self.resumed = self.asked = False
        self.first_step: int | None = None

    # ---- Lightning's hooks

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.facts |= {
            "world_size": trainer.world_size,
            "threads": torch.get_num_threads(),
            "precision": str(trainer.precision),
            "device": trainer.strategy.root_device.type,
            "processor": cpu_name(),
            "torch": str(torch.__version__),
        }
        if stage == "fit":
            self.signals.listen(signal.SIGTERM)
            # Lightning's own handler of SIGTERM starts a collective, wherever the signal finds the process; and its
            # teardown makes all handlers those of before the first step (signal_connector.py).
            trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Training that something else than the number of steps ended is over too.
        trainer.should_stop = trainer.should_stop or self.trained

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.agreement = Agreement(trainer.world_size)
        self.signals.listen(signal.SIGINT)
        # Lightning's own agreement on SIGTERM, which never sees ours: a broadcast from the device, waited for, in each
        # step of several ranks (training_epoch_loop.py, _broadcast_sigterm_tensor).
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        if trainer.is_global_zero:
            self.deadline = job_deadline(os.environ, self.deadline.longest)
            if self.best_step is not None and trainer.ckpt_path:
                self.checkpoints.take_over(self.best_step, Path(trainer.ckpt_path).parent)
        self.first_step = trainer.global_step
        self.checkpoints.start(trainer.global_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if self.resumed:
            # Lightning counts a step too much where it restarts beside a validation (training_epoch_loop.py,
            # on_advance_end after _skip_next_val).
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            self.resumed = False
        stop, due = self._cause(), self.agreement.due()
        if due or self.new_best:
            self._pass(trainer, pl_module, stop)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = self.score(trainer)
        if trainer.sanity_checking or score is None:
            return
        # Of equals the last: a small split cannot tell them apart, and the learning rate has come down since.
        if self.best_score is None or score >= self.best_score:
            self.best_score, self.best_step, self.new_best = score, trainer.global_step, True

    @staticmethod
    def score(trainer: pl.Trainer) -> float | None:
        """What the best checkpoint is chosen by; None where nothing was validated."""
        accuracy = trainer.callback_metrics.get("val/acc")
        return None if accuracy is None else float(accuracy)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.trained = True
        self._pass(trainer, pl_module, self._cause())
        if "SLURM_JOB_ID" in os.environ:  # told to save from here on, it must not end, but test in another attempt
            self.signals.restore(signal.SIGINT)
        else:
            self.signals.restore()
        if trainer.is_global_zero:
            log.info(f"checkpoints: {self.checkpoints.clock.summary()}")

    def on_test_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Ranks have different numbers of batches here, and nothing to save: rank 0 alone asks for another turn."""
        cause = 0 if self.asked else self._cause()
        if trainer.is_global_zero and cause:
            log.info("asked to stop in the final test; if it does not end before, another attempt begins it anew")
            self._requeue(trainer, cause)
            self.asked = True

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.checkpoints.write_best(trainer)
        self.signals.restore()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.checkpoints.saving:
            checkpoint["run"] = self.facts
            rewind(checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.resumed = True
        changed = {name for name, then in checkpoint["run"].items() if name != "options" and then != self.facts[name]}
        for name in sorted(changed) if trainer.is_global_zero else []:
            was, now = checkpoint["run"][name], self.facts[name]
            log.warning(f"resume: {name} was {was} and is {now} now; {INEXACT.get(name, ROUNDING)}")

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_score": self.best_score,
            "best_step": self.best_step,
            "trained": self.trained,
            "longest": self.deadline.longest,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]
        self.trained = state_dict["trained"]
        self.deadline.longest = state_dict.get("longest", 0.0)

    # ---- what happens at a boundary

    def _cause(self) -> int:
        """Why to stop; 0 where there is no reason to."""
        near = self.deadline.near(time.time())
        return self.signals.received or (TIME_LIMIT if near else 0)

    def _pass(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stop: int) -> None:
        """Agree, and do what was agreed on."""
        bad = self.watch.bad if self.watch else None
        save = trainer.is_global_zero and self.checkpoints.clock.due(trainer.global_step)
        agreed = self.agreement.reach(Votes(stop, bad.number if bad else NO_BATCH, save))
        if agreed.bad_batch != NO_BATCH:
            raise self._non_finite(trainer, agreed.bad_batch)
        write = agreed.save or bool(agreed.stop) or self.trained
        if write or self.new_best:
            self._save(trainer, pl_module, write)
        if agreed.stop:
            self._stop(trainer, agreed.stop)

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule, write: bool) -> None:
        """Keep a new best checkpoint, write one. Parameters are the same on all ranks, so all agree on them."""
        if not all_finite(pl_module):
            raise self._non_finite(trainer, self._last_batch(trainer))
        if self.new_best:
            self.checkpoints.keep_best(trainer)
            self.new_best = False
        if write:
            self.checkpoints.write(trainer, self.best_step)

    def _last_batch(self, trainer: pl.Trainer) -> int:
        """The first batch whose loss was no number; if all were, the last one that was trained on."""
        if self.watch:
            self.watch.look()
            if self.watch.bad:
                return self.watch.bad.number
        return trainer.fit_loop.epoch_loop.batch_progress.total.completed - 1

    def _stop(self, trainer: pl.Trainer, cause: int) -> None:
        """Leave training, after rank 0 has put the job back into the queue: SLURM then ends the processes."""
        name = "the job's time limit is near" if cause == TIME_LIMIT else signal.Signals(cause).name
        if trainer.is_global_zero:
            log.info(
                f"stopped at step {trainer.global_step} ({name}); the newest checkpoint is {self.checkpoints.newest}"
            )
            self._requeue(trainer, cause)
        trainer.strategy.barrier("stop")
        raise Preempted(name)

    def _requeue(self, trainer: pl.Trainer, cause: int) -> None:
        """Put the job back into the queue, unless it would be for ever."""
        if self.first_step is not None and trainer.global_step > self.first_step:
            log.info(requeue(os.environ, cause))
        else:
            log.warning("this attempt took no step, so another one would not either: the job is not requeued")

    def _non_finite(self, trainer: pl.Trainer, number: int) -> UsageError:
        """The error that names the images of a batch."""
        self.checkpoints.write_best(trainer)
        epoch, batch_idx = divmod(number, int(trainer.num_training_batches))
        names = trainer.datamodule.batch_names(epoch, batch_idx)  # type: ignore[attr-defined]  # Lightning sets it, untyped
        more = f" and {len(names) - NAMES_IN_ERROR} more" if len(names) > NAMES_IN_ERROR else ""
        skip = "; --on_nan skip leaves such batches out" if self.watch else ""
        return UsageError(
            f"the loss or a weight is no finite number after batch {batch_idx} of epoch {epoch}, made of "
            f"{', '.join(names[:NAMES_IN_ERROR])}{more}. The last good checkpoint is {self.checkpoints.newest}. "
            f"A lower learning rate is the usual cure{skip}."
        )


# What is not exact when a fact has changed between two attempts.
ROUNDING = "the numbers will differ in their last bits"
INEXACT = {
    "world_size": "the batches and their order stay the same; batch statistics continue from their mean over the "
    "ranks. Batch norm sees each rank's part of a batch alone, and dropout draws other masks, so the numbers will "
    "differ in more than their last bits",
}


def rewind(fit_loop: dict[str, Any]) -> None:
    """Make Lightning's counters those of a boundary: the batch that has just been fetched has not begun.

    Where no batch of the epoch is behind, the epoch has not begun either, and so nothing is to be restarted.
    """
    batches = fit_loop["epoch_loop.batch_progress"]
    batches["is_last_batch"] = False
    for counts in (batches["total"], batches["current"]):
        counts["ready"] = counts["started"] = counts["processed"] = counts["completed"]
    if batches["current"]["completed"] == 0:
        for counts in fit_loop["epoch_progress"].values():
            counts["ready"] = counts["started"] = counts["processed"]
