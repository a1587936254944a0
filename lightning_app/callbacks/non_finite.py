"""NaN and infinity in training: detected without waiting for a GPU, or skipped."""

from __future__ import annotations

from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_app.errors import UsageError

NAMES_IN_ERROR = 20


class BadBatch(NamedTuple):
    """A batch whose loss was NaN or infinite; numbered from 0 over all epochs."""

    number: int
    loss: float


class LossWatch(pl.Callback):
    """Checks the losses of all steps: at once on a CPU, where it is free; otherwise when the loss is logged anyway.

    Attributes:
        bad: the first batch with a NaN or infinite loss.
    """

    def __init__(self) -> None:
        self.bad: BadBatch | None = None
        self._unseen: list[tuple[int, Tensor]] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._unseen.append((trainer.fit_loop.total_batch_idx, outputs["loss"].detach()))
        if self.at_once(pl_module.device) or trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by a connector
            self.look()

    @staticmethod
    def at_once(device: torch.device) -> bool:
        """Whether checking is free."""
        return device.type == "cpu"

    def look(self) -> None:
        """Check losses not checked so far; on a GPU this waits for it."""
        if self._unseen and self.bad is None:
            losses = torch.stack([loss for _, loss in self._unseen]).float()
            for index in (~losses.isfinite()).nonzero()[:1].flatten().tolist():
                self.bad = BadBatch(self._unseen[index][0], float(losses[index]))
        self._unseen.clear()

    def first_bad(self) -> BadBatch | None:
        """The first batch so far with a NaN or infinite loss; on a GPU this waits for it."""
        self.look()
        return self.bad


class SkipNonFinite(pl.Callback):
    """Turns a batch with non-finite gradients into a step with zero gradients that leaves batch statistics alone.

    Momentum and weight decay still move the weights, as after a batch with zero gradients. Decided on the device,
    without waiting for it. The gradients are those of all ranks, so all decide alike.
    """

    def __init__(self) -> None:
        self._before: list[Tensor] = []
        self.skipped: Tensor | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        # The forward pass puts non-finite values into the running statistics before anyone can tell.
        self._before = [buffer.clone() for buffer in floating_buffers(pl_module)]

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        finite = torch.stack(torch._foreach_norm(gradients)).isfinite().all()
        for gradient in gradients:
            gradient.copy_(torch.where(finite, gradient, 0))
        for buffer, before in zip(floating_buffers(pl_module), self._before, strict=True):
            buffer.copy_(torch.where(finite, buffer, before))
        self.skipped = (~finite).long() + (0 if self.skipped is None else self.skipped)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.skipped is not None and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # as above
            for logger in trainer.loggers:
                logger.log_metrics({"train/skipped": float(self.skipped)}, step=trainer.global_step - 1)

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]


def floating_buffers(module: torch.nn.Module) -> list[Tensor]:
    """The buffers that training changes by averaging: batch statistics."""
    return [buffer for buffer in module.buffers() if buffer.is_floating_point()]


def all_finite(module: torch.nn.Module) -> bool:
    """Whether every parameter is finite; waits for a GPU."""
    return bool(torch.stack([parameter.isfinite().all() for parameter in module.parameters()]).all())


def non_finite_error(trainer: pl.Trainer, number: int, newest: str, can_skip: bool) -> UsageError:
    """The error that names the images of a batch.

    Args:
        number: of the batch, counted from 0 over all epochs.
        can_skip: whether to point to --on_nan skip.
    """
    epoch, batch_idx = divmod(number, int(trainer.num_training_batches))
    names = trainer.datamodule.batch_names(epoch, batch_idx)  # type: ignore[attr-defined]  # Lightning sets it, untyped
    more = f" and {len(names) - NAMES_IN_ERROR} more" if len(names) > NAMES_IN_ERROR else ""
    skip = "; --on_nan skip leaves such batches out" if can_skip else ""
    return UsageError(
        f"the loss or a weight is NaN or infinite after batch {batch_idx} of epoch {epoch}, made of "
        f"{', '.join(names[:NAMES_IN_ERROR])}{more}. The last good checkpoint is {newest}. A lower learning rate "
        f"usually helps{skip}."
    )
