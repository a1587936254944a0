"""Between two steps, all ranks agree whether to save, to stop, or to give up."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lightning_app.callbacks import lightning_patches
from lightning_app.callbacks.non_finite import LossWatch, all_finite, non_finite_error
from lightning_app.checkpointing.best import BestChoice
from lightning_app.checkpointing.checkpoint_io import best_file
from lightning_app.checkpointing.consensus import NO_BATCH, Agreement, Votes
from lightning_app.checkpointing.facts import changes, run_facts
from lightning_app.checkpointing.identity import RunIdentity
from lightning_app.checkpointing.preemption import Preempted, StopRequest, name_of
from lightning_app.checkpointing.resume_point import identity_in
from lightning_app.checkpointing.store import Checkpoints
from lightning_app.errors import UsageError

log = logging.getLogger(__name__)


class StepBoundary(pl.Callback):
    """Asks its parts, and makes all ranks do what was agreed.

    A boundary is where the next batch starts: by then everything in the step before is finished, including validation
    and logging.

    Args:
        checkpoints: keeps and writes checkpoints.
        best: chooses the best.
        stop: knows whether to stop.
        watch: checks the losses; None if bad batches are skipped.
        identity: of the run, saved in its checkpoints for resuming.
        facts: about the data and the program, saved there too.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        best: BestChoice,
        stop: StopRequest,
        watch: LossWatch | None,
        identity: RunIdentity,
        facts: Mapping[str, Any],
    ) -> None:
        self.checkpoints, self.best, self.stop, self.watch = checkpoints, best, stop, watch
        self.identity, self.facts = identity, dict(facts)
        self.agreement = Agreement(world_size=1)
        self._new_best = self._trained = self._resumed = self._other_length = self._asked_in_test = False

    # ---- Lightning's hooks

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.stop.signals.listen(signal.SIGTERM, signal.SIGHUP)
            lightning_patches.leave_sigterm_alone(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # If something other than the number of steps ended training, it has ended too.
        trainer.should_stop = trainer.should_stop or self._trained

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.agreement = Agreement(trainer.world_size)
        self.stop.signals.listen(signal.SIGINT)
        lightning_patches.skip_sigterm_broadcast(trainer)
        if trainer.is_global_zero and self.best.file and trainer.ckpt_path:
            self.checkpoints.take_over(self.best.file, Path(trainer.ckpt_path).parent)
        self.stop.begin(trainer.global_step, watches_the_clock=trainer.is_global_zero)
        self.checkpoints.start(trainer.global_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if self._resumed:
            lightning_patches.correct_step_count(trainer)
            lightning_patches.end_restart(trainer)
            self._resumed = False
        cause, due = self.stop.cause(), self.agreement.due()
        if due or self._new_best:
            self._pass(trainer, pl_module, cause)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        within = lightning_patches.within_a_step(trainer)
        file = best_file(trainer.global_step, within)
        if self.best.offer(trainer.callback_metrics, file):
            # At the next boundary, from which a run can resume; but by then an accumulated step has changed the
            # weights.
            self._new_best = not within
            if within:
                self.checkpoints.keep_best(trainer, file)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trained = True
        self._pass(trainer, pl_module, self.stop.cause())
        self.stop.end_of_training()
        if trainer.is_global_zero:
            log.info(f"checkpoints: {self.checkpoints.clock.summary()}")

    def on_test_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Ranks have different numbers of batches here, and nothing to save, so only rank 0 asks to be requeued."""
        cause = 0 if self._asked_in_test else self.stop.cause()
        if trainer.is_global_zero and cause:
            log.info(
                "asked to stop during the final test; if the test does not finish in time, the next attempt repeats it"
            )
            self.stop.requeue(trainer.global_step, cause)
            self._asked_in_test = True

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.checkpoints.write_best(trainer)
        self.stop.signals.restore()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        facts = self.facts | run_facts(trainer)
        # A user's callback may save anywhere within a step: such a file can be evaluated, but not resumed.
        checkpoint["run"] = {"options": self.identity.dump(), "facts": facts, "resumable": self.checkpoints.resumable}
        if self.checkpoints.resumable:
            lightning_patches.rewind(checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._resumed = True
        self._other_length = identity_in(checkpoint) != self.identity
        if trainer.is_global_zero:
            for line in changes(checkpoint["run"]["facts"], self.facts | run_facts(trainer)):
                log.warning(f"resume: {line}")

    def state_dict(self) -> dict[str, Any]:
        return {"trained": self._trained, **self.best.state_dict(), **self.stop.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._trained = state_dict["trained"] and not self._other_length
        self.best.load_state_dict(state_dict)
        self.stop.load_state_dict(state_dict)

    # ---- what happens at a boundary

    def _pass(self, trainer: pl.Trainer, pl_module: pl.LightningModule, cause: int) -> None:
        """Agree, and act on it."""
        bad = self.watch.bad if self.watch else None
        save = trainer.is_global_zero and self.checkpoints.clock.due(trainer.global_step)
        agreed = self.agreement.reach(Votes(cause, bad.number if bad else NO_BATCH, save))
        if agreed.bad_batch != NO_BATCH:
            raise self._non_finite(trainer, agreed.bad_batch)
        write = agreed.save or bool(agreed.stop) or self._trained
        if write or self._new_best:
            self._save(trainer, pl_module, write)
        if agreed.stop:
            self._leave(trainer, agreed.stop)

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule, write: bool) -> None:
        """Keep a new best checkpoint, write one. Parameters are the same on all ranks, so all agree on them."""
        if not all_finite(pl_module):
            bad = self.watch.first_bad() if self.watch else None
            last = lightning_patches.batches_completed(trainer) - 1
            raise self._non_finite(trainer, bad.number if bad else last)
        if self._new_best:
            assert self.best.file
            self.checkpoints.keep_best(trainer, self.best.file)
            self._new_best = False
        if write:
            self.checkpoints.write(trainer, self.best.file)

    def _leave(self, trainer: pl.Trainer, cause: int) -> None:
        """Leave training, after rank 0 has requeued the job: SLURM then kills the processes."""
        name = name_of(cause)
        if trainer.is_global_zero:
            log.info(
                f"stopped at step {trainer.global_step} ({name}); the newest checkpoint is {self.checkpoints.newest}"
            )
            self.stop.requeue(trainer.global_step, cause)
        trainer.strategy.barrier("stop")
        raise Preempted(name)

    def _non_finite(self, trainer: pl.Trainer, number: int) -> UsageError:
        """The error that names a batch's images, once the best checkpoint is safe."""
        self.checkpoints.write_best(trainer)
        return non_finite_error(trainer, number, self.checkpoints.newest, can_skip=self.watch is not None)
