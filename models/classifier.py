"""The LightningModule: how an image classifier is trained and measured."""

from __future__ import annotations

import copy
import difflib
import logging
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from models.backbones import head_name
from models.errors import ModelError
from models.metrics import EvalMetrics, scalars
from models.network import IMAGENET_MEAN, IMAGENET_STD, Network
from models.outcomes import Outcomes
from models.schedules import OneCycle
from models.weights import load_weights

log = logging.getLogger(__name__)
PER_STEP_SCHEDULES = (OneCycleLR, CyclicLR)  # torch's own that are defined per step; its others count epochs


class ImageClassifier(pl.LightningModule):
    """A torchvision backbone fine-tuned to the classes of the data.

    Batches are `ImageBatch`es: pixels in [0, 1], and how many of them count.

    Args:
        num_classes: the program takes it from the data.
        backbone: torchvision's name, for example mobilenet_v2, resnet18, efficientnet_b0, vit_b_16.
        weights: `imagenet` (torchvision's), the path of a .safetensors or .pth file, or `none`.
        freeze_backbone: train the classifier only; batch statistics and dropout of the rest stay as they are.
        freeze_layers: submodules of the backbone, by torchvision's names, whose weights stay as they are; their batch
            norms go on following the data. Frozen from the first layer on, they need no backward pass.
        head_lr_factor: the classifier's learning rate as a multiple of the backbone's; it begins with random weights.
        dropout: before the classifier; null is the backbone's own rate.
        label_smoothing: in training; validation and test losses are plain cross-entropy.
        mean: channel means for normalisation, of pixels in [0, 1].
        std: channel deviations for normalisation.
        optimizer: class_path and init_args of a torch optimizer.
        lr_scheduler: class_path and init_args of a schedule; null keeps the rate.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "mobilenet_v2",
        weights: str = "imagenet",
        freeze_backbone: bool = False,
        freeze_layers: Sequence[str] = (),
        head_lr_factor: float = 1.0,
        dropout: float | None = None,
        label_smoothing: float = 0.0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=3e-4, weight_decay=0.01, fused=True),
        lr_scheduler: LRSchedulerCallable | None = lambda optimizer: OneCycle(optimizer),
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["optimizer", "lr_scheduler"])
        if not 0 <= label_smoothing < 1:
            raise ModelError(f"model.label_smoothing is {label_smoothing}; expected a share in [0, 1).")
        if head_lr_factor <= 0:
            raise ModelError(f"model.head_lr_factor is {head_lr_factor}; expected a number above 0.")
        self.backbone, self.mean, self.std = backbone, tuple(mean), tuple(std)
        self.label_smoothing, self.freeze_backbone = label_smoothing, freeze_backbone
        self.optimizer, self.lr_scheduler, self.head_lr_factor = optimizer, lr_scheduler, head_lr_factor
        self.network = Network(backbone, num_classes, mean, std, dropout)
        if weights != "none":
            log.info(load_weights(self.network.backbone, backbone, weights))
        for name in freeze_layers:
            self._layer(name).requires_grad_(False)
        if freeze_backbone:
            self.network.requires_grad_(False)
            self.head.requires_grad_(True)
            self.train()  # Lightning keeps the modes that it finds, so they have to be right from the start
        self.val_metrics, self.test_metrics = EvalMetrics(num_classes), EvalMetrics(num_classes)
        self.val_outcomes, self.test_outcomes = Outcomes(), Outcomes()
        self.results: dict[str, dict[str, Tensor]] = {}
        self.loss_since_log: list[Tensor] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageClassifier:
        """A copy, as weight averaging makes one, that shares the factories of optimizer and schedule.

        They hold on to the program that parsed them, and so to its Trainer, data and child processes.
        """
        memo |= {id(factory): factory for factory in (self.optimizer, self.lr_scheduler)}
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def _layer(self, name: str) -> torch.nn.Module:
        """A submodule of the backbone that may be frozen."""
        head, _, _ = head_name(self.network.backbone).partition(".")
        modules = (known for known, _ in self.network.backbone.named_modules() if known)
        names = [known for known in modules if known.partition(".")[0] != head]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise ModelError(
                f"model.freeze_layers has {name!r}, which is no layer of {self.backbone} below its classifier"
                + (f"; did you mean {near[0]}?" if near else f"; expected names such as {names[0]}.")
            )
        return self.network.backbone.get_submodule(name)

    @property
    def head(self) -> torch.nn.Module:
        """The last linear layer."""
        return self.network.backbone.get_submodule(head_name(self.network.backbone))

    def train(self, mode: bool = True) -> ImageClassifier:
        """As in torch, but a frozen backbone keeps its batch statistics and drops nothing out."""
        super().train(mode)
        if self.freeze_backbone:
            self.network.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Pixels float [n, 3, size, size] in [0, 1] to logits [n, num_classes]."""
        return self.network(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits, labels = self._counted(batch)
        loss = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=self.label_smoothing)
        loss = loss / batch.global_size
        self.loss_since_log.append(loss.detach())
        # DDP averages gradients over ranks; this makes it a sum over the global batch, whatever the shards' sizes.
        return loss * self.trainer.world_size

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the mean over all batches since the last log, accumulated ones too: no synchronisation in between."""
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by a connector
            mean = torch.stack(self.loss_since_log).mean()
            # Not for the progress bar: from the first log on, Lightning would read it in every step.
            self.log("train/loss", mean, sync_dist=True, reduce_fx="sum", batch_size=1)
            self.loss_since_log.clear()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, self.val_metrics, self.val_outcomes)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, self.test_metrics, self.test_outcomes)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Rows of the packed cache, labels and class probabilities of the images that count."""
        logits, labels = self._counted(batch)
        return {"rows": batch.rows[: batch.counted], "labels": labels, "probabilities": logits.softmax(dim=-1)}

    def on_validation_epoch_end(self) -> None:
        self._conclude("val", self.val_metrics, self.val_outcomes)

    def on_test_epoch_end(self) -> None:
        self._conclude("test", self.test_metrics, self.test_outcomes)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # So that whoever takes these weights later has the numbers that are theirs.
        checkpoint["results"] = self.results

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.results = dict(checkpoint.get("results", {}))

    def _counted(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Logits (float32) and labels of the images that count."""
        return self(batch.images)[: batch.counted].float(), batch.labels[: batch.counted]

    def _measure(self, batch: Any, metrics: EvalMetrics, outcomes: Outcomes) -> None:
        logits, labels = self._counted(batch)
        metrics.update(logits, labels)
        outcomes.update(batch.rows[: batch.counted], logits, labels)

    def _conclude(self, split: str, metrics: EvalMetrics, outcomes: Outcomes) -> None:
        """Sum up over ranks, log the scalars, and keep everything in `results`."""
        results = metrics.conclude()
        if not self.trainer.sanity_checking:  # those of a network that has not been trained are no result
            # atleast_1d: torchmetrics makes scalars of what has one element.
            found = {name: torch.atleast_1d(values) for name, values in outcomes.compute().items()}
            self.results[split] = results | found
        outcomes.reset()
        self.log_dict({f"{split}/{name}": value for name, value in scalars(results).items()}, prog_bar=split == "val")

    def configure_optimizers(self) -> Any:
        optimizer = self._grouped_optimizer()
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        if isinstance(scheduler, PER_STEP_SCHEDULES) and self.head_lr_factor != 1:
            raise ModelError(
                f"model.head_lr_factor is {self.head_lr_factor}, but {type(scheduler).__name__} sets rates of its own "
                "for all layers; use models.schedules.OneCycle, or leave head_lr_factor at 1."
            )
        if isinstance(scheduler, OneCycle):
            scheduler.set_total_steps(total_steps(self.trainer))
        per_step = isinstance(scheduler, (OneCycle, *PER_STEP_SCHEDULES))
        return [optimizer], [{"scheduler": scheduler, "interval": "step" if per_step else "epoch"}]

    def _grouped_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of what is trained; the head is a group of its own only where its rate is another one."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if self.head_lr_factor == 1:
            return self.optimizer(trained)
        head = list(self.head.parameters())
        of_head = {id(parameter) for parameter in head}
        rest = [parameter for parameter in trained if id(parameter) not in of_head]
        groups = [{"name": name, "params": params} for name, params in (("backbone", rest), ("head", head)) if params]
        optimizer = self.optimizer(groups)
        optimizer.param_groups[-1]["lr"] *= self.head_lr_factor
        return optimizer


def total_steps(trainer: pl.Trainer) -> int:
    """Optimizer steps of the whole run.

    Not `trainer.estimated_stepping_batches`: reading it here makes Lightning drop the loader's state on resume
    (https://github.com/Lightning-AI/pytorch-lightning/issues/20550).
    """
    batches = trainer.datamodule.steps_per_epoch  # type: ignore[attr-defined]  # Lightning sets it, untyped
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * (1.0 if limit is None else limit))
    by_epochs = -(-batches // trainer.accumulate_grad_batches) * (trainer.max_epochs or 0)
    limits = [steps for steps in (by_epochs, trainer.max_steps) if steps > 0]
    return min(limits, default=1)
