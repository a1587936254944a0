"""The LightningModule: how an image classifier is trained and evaluated."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from models.backbones import head_name
from models.batch import Batch, as_batch, images_of
from models.compiled import CompiledNetwork, CompileMode
from models.errors import ModelError
from models.metrics.evaluation_metrics import EvalMetrics, ImagePredictions, majority_share, reset, scalars
from models.normalized_network import IMAGENET_MEAN, IMAGENET_STD, Network
from models.optimization import FACTORIES, WithFactories, check_can_be_saved, make_optimizer, schedule_config
from models.schedules import OneCycle
from models.weights import load_weights, read_pretrained

log = logging.getLogger(__name__)


class ImageClassifier(WithFactories):
    """A torchvision backbone fine-tuned to the classes of the data.

    Batches are datamodules' `ImageBatch`es, or (images, labels) of any DataLoader: float [n, 3, size, size] in [0, 1],
    which the network normalises itself, and int64 [n].

    Args:
        num_classes: filled in from the data.
        backbone: torchvision's name, for example mobilenet_v2, resnet18, efficientnet_b0, vit_b_16.
        weights: `imagenet`, other torchvision weights (IMAGENET1K_V2, DEFAULT), a .safetensors, .pth or .ckpt
            file, an artifact (runs/<name>/<version>/model), or `none`.
        freeze_backbone: train only the classifier; the rest keeps its weights and batch statistics, without dropout.
        freeze_layers: submodules of the backbone, by torchvision's names, whose weights stay frozen; their BatchNorm
            statistics still follow the data. If the first layers are frozen, they need no backward pass.
        head_lr_factor: the classifier's learning rate as a multiple of the backbone's; it starts from random weights.
        dropout: rate before the classifier; null keeps the backbone's rate.
        label_smoothing: for training only; validation and test losses are plain cross-entropy.
        mean: channel means for normalising pixels in [0, 1]; null uses what the weights were trained with.
        std: channel standard deviations; null uses what the weights were trained with.
        compile: null, or torch.compile's mode for the network. It compiles once per image size, and not for the last
            batch of an epoch, which is often smaller; `eager` and `aot_eager` are debugging backends.
        optimizer: class_path and init_args of a torch optimizer.
        lr_scheduler: class_path and init_args of a schedule; null keeps the learning rate constant.
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
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        compile: CompileMode | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=3e-4, weight_decay=0.01, fused=True),
        lr_scheduler: LRSchedulerCallable | None = lambda optimizer: OneCycle(optimizer),
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=FACTORIES)
        if "_instantiator" in self.hparams:  # created by LightningCLI, which knows the factories as plain options
            self.save_hyperparameters(logger=False)
        check_ranges(label_smoothing, head_lr_factor)
        pretrained = None if weights == "none" else read_pretrained(backbone, weights)
        self.backbone = backbone
        self.mean = tuple(mean or (pretrained and pretrained.mean) or IMAGENET_MEAN)
        self.std = tuple(std or (pretrained and pretrained.std) or IMAGENET_STD)
        self.hparams.update(mean=list(self.mean), std=list(self.std))  # the weights have already decided it
        self.label_smoothing, self.freeze_backbone = label_smoothing, freeze_backbone
        self.optimizer, self.lr_scheduler, self.head_lr_factor = optimizer, lr_scheduler, head_lr_factor
        self.network = Network(backbone, num_classes, self.mean, self.std, dropout)
        if pretrained:
            log.info(load_weights(self.network.backbone, pretrained))
        self.compiled = None if compile is None else CompiledNetwork(self.network, compile)
        self._freeze(freeze_layers)
        self.val_metrics, self.test_metrics = EvalMetrics(num_classes), EvalMetrics(num_classes)
        self.val_images, self.test_images = ImagePredictions(), ImagePredictions()
        self.results: dict[str, dict[str, Tensor]] = {}
        self.loss_since_log: list[Tensor] = []

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> ImageClassifier:
        """Lightning's, but it needs no initial weights: the checkpoint replaces them.

        If the program's command line created optimizer and schedule, they are the run's. A script's are not in the
        checkpoint: to continue training, pass them again as `optimizer` and `lr_scheduler`.
        """
        return super().load_from_checkpoint(checkpoint_path, *args, **{"weights": "none", **kwargs})

    def _freeze(self, layers: Sequence[str]) -> None:
        """Freeze the weights of these layers; with `freeze_backbone`, of everything except the head."""
        for name in layers:
            self._layer(name).requires_grad_(False)
        if self.freeze_backbone:
            self.network.requires_grad_(False)
            self.head.requires_grad_(True)
            self.train()  # Lightning keeps the modes that it finds, so they have to be right from the start

    def _layer(self, name: str) -> torch.nn.Module:
        """A submodule of the backbone that may be frozen."""
        head, _, _ = head_name(self.network.backbone).partition(".")
        modules = (known for known, _ in self.network.backbone.named_modules() if known)
        names = [known for known in modules if known.partition(".")[0] != head]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise ModelError(
                f"model.freeze_layers has {name!r}, which is not a layer of {self.backbone} below its classifier"
                + (f"; did you mean {near[0]}?" if near else f"; expected names such as {names[0]}.")
            )
        return self.network.backbone.get_submodule(name)

    @property
    def head(self) -> torch.nn.Module:
        """The last linear layer."""
        return self.network.backbone.get_submodule(head_name(self.network.backbone))

    def train(self, mode: bool = True) -> ImageClassifier:
        """As in torch, but a frozen backbone keeps its batch statistics and applies no dropout."""
        super().train(mode)
        if self.freeze_backbone:
            self.network.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Pixels float [n, 3, size, size] in [0, 1] to logits [n, num_classes]."""
        return self.network(images) if self.compiled is None else self.compiled(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = as_batch(batch, self.trainer.world_size)
        # Compiling for the last, smaller batch of an epoch would take as long as for all before it.
        left_over = self.compiled is not None and self.trainer.is_last_batch and self.trainer.num_training_batches > 1
        logits, labels = self._valid(batch, self.network.forward if left_over else None)
        loss = self.loss(logits, labels)
        if batch.mixed_labels is not None:
            mixed = self.loss(logits, batch.mixed_labels[: batch.num_valid])
            loss = batch.own_share * loss + (1 - batch.own_share) * mixed
        loss = loss / batch.global_size
        self.loss_since_log.append(loss.detach())
        # DDP averages gradients over ranks; this makes it a sum over the global batch, whatever the shards' sizes.
        return loss * self.trainer.world_size

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The training loss, for a subclass to replace: the sum over the images, never their mean.

        Training divides it by the size of the global batch, whose images the ranks share. For mixed images, it is
        called once for each of their two labels.
        """
        return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=self.label_smoothing)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the mean over all batches since the last log, including accumulated ones, without synchronising."""
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by a connector
            mean = torch.stack(self.loss_since_log).mean()
            # Not for the progress bar: from the first log on, Lightning would read it at every step.
            self.log("train/loss", mean, sync_dist=True, reduce_fx="sum", batch_size=1)
            self.loss_since_log.clear()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, self.val_metrics, self.val_images)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch, self.test_metrics, self.test_images)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Class probabilities of the images that count; for our batches, also indices and labels."""
        if not hasattr(batch, "global_size"):
            return {"probabilities": self(images_of(batch)).float().softmax(dim=-1)}
        logits, labels = self._valid(batch)
        return {"indices": batch.indices[: batch.num_valid], "labels": labels, "probabilities": logits.softmax(dim=-1)}

    def on_validation_epoch_end(self) -> None:
        self._finish("val", self.val_metrics, self.val_images)

    def on_test_epoch_end(self) -> None:
        self._finish("test", self.test_metrics, self.test_images)
        confusion = self.results["test"]["confusion"]
        share, accuracy = majority_share(confusion), float(self.results["test"]["acc"])
        if accuracy <= share and self.trainer.is_global_zero:
            log.warning(
                f"accuracy {accuracy:.4f} is no better than always predicting the largest class ({share:.4f}); look at "
                "balanced_acc and f1"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # So that later users of these weights have their metrics.
        checkpoint["results"] = self.results
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.results = dict(checkpoint.get("results", {}))
        super().on_load_checkpoint(checkpoint)

    def _valid(self, batch: Batch, network: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Logits (float32) and labels of the images that count."""
        return (network or self)(batch.images)[: batch.num_valid].float(), batch.labels[: batch.num_valid]

    def _measure(self, batch: Any, metrics: EvalMetrics, images: ImagePredictions) -> None:
        batch = as_batch(batch, self.trainer.world_size)
        logits, labels = self._valid(batch)
        metrics.update(logits, labels)
        indices = torch.full_like(labels, -1) if batch.indices is None else batch.indices[: batch.num_valid]
        images.update(indices, logits, labels)

    def _finish(self, split: str, metrics: EvalMetrics, images: ImagePredictions) -> None:
        """Sum over ranks, log the scalars, and keep everything in `results`."""
        results = metrics.compute_and_reset()
        if not self.trainer.sanity_checking:  # metrics of an untrained network are not a result
            # atleast_1d: torchmetrics turns one-element tensors into scalars.
            found = {name: torch.atleast_1d(values) for name, values in images.compute().items()}
            self.results[split] = results | found
        reset(images)
        self.log_dict({f"{split}/{name}": value for name, value in scalars(results).items()}, prog_bar=split == "val")

    def on_fit_start(self) -> None:
        synced = any(isinstance(module, torch.nn.SyncBatchNorm) for module in self.network.modules())
        if synced and self.device.type == "cpu" and self.trainer.world_size > 1:
            raise ModelError(
                "trainer.sync_batchnorm is true, but torch's SyncBatchNorm has no kernel for a CPU; leave it out: "
                "the ranks' statistics are averaged before each evaluation."
            )

    def configure_optimizers(self) -> Any:
        self.check_factories()
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(self.optimizer, trained, list(self.head.parameters()), self.head_lr_factor)
        if self.lr_scheduler is None:
            return optimizer
        schedule = schedule_config(self.lr_scheduler(optimizer), self.trainer, self.head_lr_factor)
        check_can_be_saved(schedule["scheduler"])
        return [optimizer], [schedule]


def check_ranges(label_smoothing: float, head_lr_factor: float) -> None:
    """Raise a ModelError for numbers out of range."""
    if not 0 <= label_smoothing < 1:
        raise ModelError(f"model.label_smoothing is {label_smoothing}; expected a share in [0, 1).")
    if head_lr_factor <= 0:
        raise ModelError(f"model.head_lr_factor is {head_lr_factor}; expected a number above 0.")
