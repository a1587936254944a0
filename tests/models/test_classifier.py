"""The LightningModule: what a step's gradient is, what is frozen, and how long a run is."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from calibration import calibrate
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from datamodules.augmentation import Augment
from datamodules.batches import ImageBatch
from datamodules.datamodule import ImageData
from models.classifier import ImageClassifier
from models.errors import ModelError
from models.optimization import total_steps
from models.schedules import OneCycle

CLASSES = 4


def classifier(**options: Any) -> ImageClassifier:
    """A small network with weights of its own, outside of any Trainer but for what a step asks of it."""
    torch.manual_seed(0)
    model = ImageClassifier(CLASSES, weights="none", **options)
    return in_world(model, 1)


def lively(**options: Any) -> ImageClassifier:
    """The same, in evaluation mode, with logits and gradients of order one."""
    model = classifier(**options)
    calibrate(model.network, model.network.backbone)
    return model.eval()  # batch statistics and dropout do differ by rank


def in_world(model: ImageClassifier, world_size: int) -> ImageClassifier:
    """Give the model a value in a Trainer's place: one of `world_size` ranks, logging nothing."""
    model.trainer = SimpleNamespace(
        world_size=world_size, global_step=0, log_every_n_steps=10**9, sanity_checking=False
    )
    return model


def images_and_labels(count: int) -> tuple[Tensor, Tensor]:
    """Random images and labels, the same each time."""
    generator = torch.Generator().manual_seed(count)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return torch.rand(count, 3, 32, 32, generator=generator), labels


def batch_of(images: Tensor, labels: Tensor, num_valid: int, global_size: int) -> ImageBatch:
    """A batch as the DataModule makes them."""
    return ImageBatch(images, labels, torch.arange(len(labels)), num_valid, global_size)


def gradients(model: ImageClassifier, batch: ImageBatch) -> dict[str, Tensor]:
    """What one training step leaves in the parameters."""
    model.zero_grad()
    model.training_step(batch, 0).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("bounds", [(0, 3, 7), (0, 1, 3, 7), (0, 0, 7), (0, 2, 4, 6, 7)])
def test_gradients_averaged_over_uneven_shards_are_those_of_the_global_batch(bounds: tuple[int, ...]) -> None:
    model = lively(label_smoothing=0.1).double()
    images, labels = images_and_labels(7)
    images = images.double()
    whole = gradients(model, batch_of(images, labels, 7, 7))

    world_size = len(bounds) - 1
    in_world(model, world_size)
    averaged = {name: torch.zeros_like(gradient) for name, gradient in whole.items()}
    for start, stop in itertools.pairwise(bounds):
        kept = slice(start, max(stop, start + 1))  # an empty shard still has one image, which does not count
        shard = batch_of(images[kept], labels[kept], stop - start, 7)
        for name, gradient in gradients(model, shard).items():
            averaged[name] += gradient / world_size  # as DDP does

    for name, expected in whole.items():
        assert expected.abs().max() > 1e-3, f"{name} has no gradient that a test could compare"
        torch.testing.assert_close(averaged[name], expected, rtol=0, atol=1e-5 * float(expected.abs().max()), msg=name)


def test_the_logged_losses_of_the_ranks_sum_to_the_global_loss() -> None:
    model = lively()
    images, labels = images_and_labels(5)
    with torch.no_grad():
        expected = F.cross_entropy(model(images), labels)
        for kept in (slice(0, 1), slice(1, 5)):
            in_world(model, 2).training_step(batch_of(images[kept], labels[kept], len(labels[kept]), 5), 0)
    assert expected > 0.1
    torch.testing.assert_close(torch.stack(model.loss_since_log).sum(), expected)


def test_the_logged_loss_is_the_mean_over_all_batches_since_the_last_log_summed_over_ranks() -> None:
    model = classifier()
    model.trainer = SimpleNamespace(global_step=0, log_every_n_steps=2)
    logged: list[tuple[Any, ...]] = []
    model.log = lambda name, value, **options: logged.append((name, float(value), options))
    for step, losses in enumerate([(1.0, 2.0), (4.0, 9.0), (3.0, 5.0)]):  # two batches are accumulated for each step
        model.trainer.global_step = step
        model.loss_since_log += map(torch.tensor, losses)
        model.on_before_optimizer_step(None)
    [(name, value, options)] = logged
    assert (name, value) == ("train/loss", 4.0)
    assert (options["sync_dist"], options["reduce_fx"]) == (True, "sum")  # each rank has its share of a global mean
    assert torch.stack(model.loss_since_log).tolist() == [3.0, 5.0]


def test_each_validation_replaces_the_predictions_of_the_one_before() -> None:
    model = lively()
    model.log_dict = lambda *_, **__: None
    for count in (5, 3):
        images, labels = images_and_labels(count)
        with torch.no_grad():
            model.validation_step(batch_of(images, labels, count, count), 0)
        model.on_validation_epoch_end()
        found = model.results["val"]
        assert found["labels"].tolist() == labels.tolist()
        assert {len(found[name]) for name in ("indices", "predicted", "confidence")} == {count}
        assert int(found["confusion"].sum()) == count


def test_what_a_sanity_check_measured_is_no_result_and_no_part_of_the_next_one() -> None:
    model = lively()
    model.log_dict = lambda *_, **__: None
    for count, sanity_checking in ((5, True), (3, False)):
        images, labels = images_and_labels(count)
        model.trainer.sanity_checking = sanity_checking
        with torch.no_grad():
            model.validation_step(batch_of(images, labels, count, count), 0)
        model.on_validation_epoch_end()
        assert list(model.results) == ([] if sanity_checking else ["val"])
    assert int(model.results["val"]["confusion"].sum()) == 3


def test_a_frozen_backbone_has_only_its_head_to_train() -> None:
    model = classifier(freeze_backbone=True)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable == ["network.backbone.classifier.1.weight", "network.backbone.classifier.1.bias"]


def test_training_a_frozen_backbone_changes_nothing_but_the_head() -> None:
    model = classifier(freeze_backbone=True, lr_scheduler=None).train()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    optimizer = model.configure_optimizers()
    model.training_step(batch_of(*images_and_labels(6), 6, 6), 0).backward()
    optimizer.step()
    changed = [name for name, tensor in model.network.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["backbone.classifier.1.weight", "backbone.classifier.1.bias"]


def test_a_frozen_backbone_drops_nothing_out() -> None:
    model = classifier(freeze_backbone=True, dropout=0.5).train()
    images, _ = images_and_labels(2)
    assert torch.equal(model(images), model(images))


def test_frozen_layers_keep_their_weights_but_follow_the_data() -> None:
    frozen = ["features.0", "features.1"]
    model = classifier(freeze_layers=frozen, lr_scheduler=None).train()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    optimizer = model.configure_optimizers()
    model.training_step(batch_of(*images_and_labels(6), 6, 6), 0).backward()
    optimizer.step()
    changed = {name for name, tensor in model.network.state_dict().items() if not torch.equal(tensor, before[name])}
    weights = {f"backbone.{name}" for name, _ in model.network.backbone.named_parameters()}
    kept = {name for name in weights if name.startswith(tuple(f"backbone.{layer}." for layer in frozen))}
    assert changed & weights == weights - kept
    assert {"backbone.features.0.1.running_mean", "backbone.features.1.conv.2.running_var"} <= changed


def test_layers_frozen_from_the_first_on_keep_nothing_for_a_backward_pass() -> None:
    model = classifier(freeze_layers=["features.0", "features.1"]).train()
    assert not model.network.backbone.features[:2](images_and_labels(2)[0]).requires_grad
    assert model.network.backbone.features[:3](images_and_labels(2)[0]).requires_grad


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("feature.3", "did you mean features.3?"),
        ("xyz", "expected names such as features."),
        ("classifier", "below its classifier"),
        ("classifier.1", "below its classifier"),
    ],
)
def test_what_is_no_layer_cannot_be_frozen(name: str, advice: str) -> None:
    with pytest.raises(ModelError, match=rf"model.freeze_layers has '{name}', .*{re.escape(advice)}"):
        classifier(freeze_layers=[name])


def test_without_freezing_training_moves_the_batch_statistics() -> None:
    model = classifier().train()
    before = model.network.backbone.features[0][1].running_mean.clone()
    model(images_and_labels(2)[0])
    assert not torch.equal(model.network.backbone.features[0][1].running_mean, before)


def test_labels_are_smoothed_in_training_and_nowhere_else() -> None:
    model = lively(label_smoothing=0.3)
    images, labels = images_and_labels(6)
    batch = batch_of(images, labels, 6, 6)
    with torch.no_grad():
        logits = model(images)
        model.validation_step(batch, 0)
        model.test_step(batch, 0)
        trained = model.training_step(batch, 0)
    smoothed, plain = F.cross_entropy(logits, labels, label_smoothing=0.3), F.cross_entropy(logits, labels)
    assert (smoothed - plain).abs() > 0.01
    torch.testing.assert_close(trained, smoothed)
    for metrics in (model.val_metrics, model.test_metrics):
        torch.testing.assert_close(metrics.compute_and_reset()["loss"], plain)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_share_of_smoothing_beyond_one_is_refused(smoothing: float) -> None:
    with pytest.raises(ModelError, match=f"label_smoothing is {smoothing}"):
        classifier(label_smoothing=smoothing)


def test_padding_counts_in_no_metric_and_no_prediction() -> None:
    model = lively()
    images, labels = images_and_labels(5)
    with torch.no_grad():
        model.validation_step(batch_of(images, labels, 3, 3), 0)
        model.test_step(batch_of(images[:3], labels[:3], 3, 3), 0)
        predicted = model.predict_step(batch_of(images, labels, 3, 3), 0)
    padded, plain = model.val_metrics.compute_and_reset(), model.test_metrics.compute_and_reset()
    assert int(padded["confusion"].sum()) == 3
    assert torch.equal(padded["confusion"], plain["confusion"])
    torch.testing.assert_close(padded, plain)
    assert {name: len(tensor) for name, tensor in predicted.items()} == {"indices": 3, "labels": 3, "probabilities": 3}


def stub_trainer(**facts: Any) -> Any:
    """The facts of a Trainer that decide the length of a run, with 23 batches an epoch."""
    defaults = {"limit_train_batches": 1.0, "accumulate_grad_batches": 1, "max_epochs": 3, "max_steps": -1}
    return SimpleNamespace(datamodule=SimpleNamespace(steps_per_epoch=23), **(defaults | facts))


@pytest.mark.parametrize(
    ("facts", "steps"),
    [
        ({}, 69),
        ({"max_epochs": 1}, 23),
        ({"max_steps": 50}, 50),
        ({"max_steps": 500}, 69),
        ({"max_epochs": -1, "max_steps": 500}, 500),
        ({"max_epochs": None, "max_steps": 500}, 500),
        ({"limit_train_batches": 4}, 12),
        ({"limit_train_batches": 100}, 69),
        ({"limit_train_batches": 1}, 3),
        ({"limit_train_batches": 0.5}, 33),
        ({"limit_train_batches": None}, 69),
        ({"accumulate_grad_batches": 4}, 18),
        ({"accumulate_grad_batches": 4, "limit_train_batches": 8}, 6),
        ({"accumulate_grad_batches": 4, "max_steps": 7}, 7),
    ],
)
def test_the_steps_of_a_run_are_counted(facts: dict[str, Any], steps: int) -> None:
    assert total_steps(stub_trainer(**facts)) == steps


def test_our_schedule_is_told_the_length_and_steps_with_the_optimizer() -> None:
    model = classifier()
    model.trainer = stub_trainer()
    [optimizer], [scheduler] = model.configure_optimizers()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert isinstance(scheduler["scheduler"], OneCycle)
    assert (scheduler["scheduler"].total_steps, scheduler["interval"]) == (69, "step")


def rates_of_parts(optimizer: torch.optim.Optimizer, model: ImageClassifier) -> dict[str, float]:
    """The learning rate of every trained parameter, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("factor", [1.0, 5.0])
def test_the_heads_rate_is_a_multiple_of_the_backbones_at_every_step(factor: float) -> None:
    model = classifier(head_lr_factor=factor, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5))
    model.trainer = stub_trainer(max_epochs=1)
    [optimizer], [scheduler] = model.configure_optimizers()
    for step in range(23):
        rates = rates_of_parts(optimizer, model)
        assert rates.keys() == {name for name, _ in model.named_parameters()}
        rate = 0.5 * scheduler["scheduler"].factor(step / 23)
        for name, found in rates.items():
            assert found == pytest.approx(rate * (factor if "classifier" in name else 1), rel=1e-12)
        optimizer.step()
        scheduler["scheduler"].step()


def test_a_head_with_a_rate_of_its_own_trains_alone_above_a_frozen_backbone() -> None:
    model = classifier(head_lr_factor=5.0, freeze_backbone=True, lr_scheduler=None)
    rates = rates_of_parts(model.configure_optimizers(), model)
    assert rates == {f"network.backbone.classifier.1.{part}": pytest.approx(15e-4) for part in ("weight", "bias")}


def test_a_factor_that_the_schedule_would_overwrite_is_refused() -> None:
    model = classifier(
        head_lr_factor=5.0, lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10)
    )
    with pytest.raises(ModelError, match="OneCycleLR sets its own rates"):
        model.configure_optimizers()


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_factor_that_would_not_train_the_head_is_refused(factor: float) -> None:
    with pytest.raises(ModelError, match=f"head_lr_factor is {factor}"):
        classifier(head_lr_factor=factor)


def test_torchs_schedules_step_as_they_are_defined() -> None:
    def interval(lr_scheduler: Any) -> str:
        model = classifier(lr_scheduler=lr_scheduler)
        model.trainer = stub_trainer(max_steps=10)
        return model.configure_optimizers()[1][0]["interval"]

    assert interval(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 10)) == "epoch"
    assert interval(lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10)) == "step"


def test_a_copy_has_weights_of_its_own_and_shares_what_the_program_made() -> None:
    class Factory:
        """Refers to something that cannot be copied, as jsonargparse's factories refer to the Trainer."""

        def __init__(self) -> None:
            self.program = threading.Lock()

        def __call__(self, parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters, lr=0.1)

    model = classifier(optimizer=Factory())
    copied = copy.deepcopy(model)
    assert copied.optimizer is model.optimizer
    assert copied.head.weight is not model.head.weight
    assert torch.equal(copied.head.weight, model.head.weight)
    assert copied.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("facts", [{"max_epochs": -1}, {"max_epochs": None, "max_time": "00:01:00:00"}])
def test_a_schedule_over_a_run_without_a_known_end_is_refused(facts: dict[str, Any]) -> None:
    model = classifier()
    model.trainer = stub_trainer(**facts)
    with pytest.raises(ModelError, match=r"the run has no end: set trainer\.max_epochs or"):
        model.configure_optimizers()


def test_epochs_that_accumulate_more_and_more_are_counted_each() -> None:
    trainer = stub_trainer(callbacks=[GradientAccumulationScheduler({0: 1, 2: 4})])
    assert total_steps(trainer) == 23 + 23 + 6


def test_torchs_one_cycle_that_is_too_short_for_the_run_is_refused() -> None:
    model = classifier(lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 68))
    model.trainer = stub_trainer()
    with pytest.raises(ModelError, match="OneCycleLR of 68 steps, but the run has 69"):
        model.configure_optimizers()


def test_a_schedule_that_no_checkpoint_can_hold_is_refused_before_the_first_step() -> None:
    model = classifier(lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, math.sqrt))
    with pytest.raises(ModelError, match=r"a LambdaLR that no checkpoint can hold .* built-in one such as math\.sqrt"):
        model.configure_optimizers()


def test_a_schedule_that_waits_for_a_plateau_follows_the_validation_loss() -> None:
    model = classifier(lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer))
    assert model.configure_optimizers()[1][0]["monitor"] == "val/loss"


def test_an_optimizer_that_cannot_be_made_is_one_error() -> None:
    model = classifier(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=-1), lr_scheduler=None)
    with pytest.raises(ModelError, match=r"model\.optimizer cannot be created \(Invalid learning rate: -1\)"):
        model.configure_optimizers()


def test_labels_of_mixed_images_are_soft_in_the_loss() -> None:
    model = lively(label_smoothing=0.1)
    images, labels = images_and_labels(6)
    mixed_labels = (labels + 1) % CLASSES
    batch = batch_of(images, labels, 5, 8)._replace(mixed_labels=mixed_labels, own_share=0.7)
    soft = 0.7 * F.one_hot(labels, CLASSES) + 0.3 * F.one_hot(mixed_labels, CLASSES)
    with torch.no_grad():
        expected = F.cross_entropy(model(images)[:5], soft[:5], reduction="sum", label_smoothing=0.1) / 8
        torch.testing.assert_close(model.training_step(batch, 0), expected)


def plain_trainer(folder: Path, **options: Any) -> pl.Trainer:
    """Lightning's own, as in a user's script."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return pl.Trainer(
        accelerator="cpu", max_epochs=2, enable_checkpointing=False, default_root_dir=folder, **quiet, **options
    )


def test_batches_of_any_dataloader_are_validated_trained_on_and_predicted_by_one_module(tmp_path: Path) -> None:
    images, labels = images_and_labels(10)
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    model = ImageClassifier(CLASSES, weights="none")
    plain_trainer(tmp_path).validate(model, loader, verbose=False)
    trainer = plain_trainer(tmp_path, log_every_n_steps=1)
    trainer.fit(model, loader, loader)
    assert trainer.global_step == 6
    assert int(model.results["val"]["confusion"].sum()) == 10
    assert model.lr_schedulers().total_steps == 6
    [predicted] = plain_trainer(tmp_path).predict(model, DataLoader(images, batch_size=10))
    assert list(predicted) == ["probabilities"]
    torch.testing.assert_close(predicted["probabilities"].sum(dim=1), torch.ones(10))


def test_a_batch_that_is_none_is_named() -> None:
    with pytest.raises(ModelError, match=r"a batch is \['Tensor'\]; expected \(images, labels\)"):
        classifier().training_step([torch.zeros(1, 3, 32, 32)], 0)


def test_a_pickled_module_has_its_weights_and_the_default_optimizer() -> None:
    model = ImageClassifier(CLASSES, weights="none")
    copied = pickle.loads(pickle.dumps(model))
    assert torch.equal(copied.head.weight, model.head.weight)
    copied.trainer = stub_trainer()
    [optimizer], [_] = copied.configure_optimizers()
    assert (type(optimizer), optimizer.defaults["lr"]) == (torch.optim.AdamW, 3e-4)


def test_a_module_is_saved_and_loaded_as_a_whole(tmp_path: Path) -> None:
    model = ImageClassifier(CLASSES, weights="none", optimizer=sgd, lr_scheduler=None)
    torch.save(model, tmp_path / "whole.pt")
    loaded = torch.load(tmp_path / "whole.pt", weights_only=False)
    assert torch.equal(loaded.head.weight, model.head.weight)
    assert (loaded.optimizer, loaded.lr_scheduler) == (sgd, None)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.25)


@pytest.mark.parametrize("optimizer", [None, sgd])
def test_a_checkpoint_of_a_script_trains_on_only_with_the_optimizer_that_it_had(optimizer: Any, tmp_path: Path) -> None:
    images, labels = images_and_labels(8)
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    trainer = plain_trainer(tmp_path, limit_train_batches=1)
    options = {"optimizer": optimizer} if optimizer else {}
    trainer.fit(ImageClassifier(CLASSES, weights="none", **options), loader)
    trainer.save_checkpoint(tmp_path / "own.ckpt")

    loaded = ImageClassifier.load_from_checkpoint(tmp_path / "own.ckpt")
    loaded.trainer = stub_trainer()
    if optimizer is None:
        assert isinstance(loaded.configure_optimizers()[0][0], torch.optim.AdamW)
        return
    with pytest.raises(ModelError, match="does not contain the optimizer of the script that trained it"):
        loaded.configure_optimizers()
    given = ImageClassifier.load_from_checkpoint(tmp_path / "own.ckpt", optimizer=optimizer)
    given.trainer = stub_trainer()
    assert given.configure_optimizers()[0][0].defaults["lr"] == 0.25


def test_a_checkpoint_needs_no_initial_weights(tmp_path: Path) -> None:
    model = classifier()
    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": {"num_classes": CLASSES, "weights": "gone.pth", "mean": [0.1, 0.2, 0.3]},
        "pytorch-lightning_version": pl.__version__,
    }
    torch.save(checkpoint, tmp_path / "best.ckpt")
    loaded = ImageClassifier.load_from_checkpoint(tmp_path / "best.ckpt")
    assert loaded.mean == (0.1, 0.2, 0.3)
    assert torch.equal(loaded.head.weight, model.head.weight)


def test_statistics_over_ranks_that_torch_cannot_synchronise_on_a_cpu_are_refused() -> None:
    model = in_world(classifier(), 2)
    model.network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model.network)
    with pytest.raises(ModelError, match="SyncBatchNorm has no kernel for a CPU"):
        model.on_fit_start()


def test_accuracy_no_better_than_the_largest_class_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = lively()
    model.log_dict = lambda *_, **__: None
    model.trainer.is_global_zero = True
    images, _ = images_and_labels(5)
    with torch.no_grad():
        predicted = model(images).argmax(dim=1)
        alike = torch.full((5,), int(predicted[0]))
        for labels, said in ((predicted, len(predicted.unique()) == 1), ((alike + 1) % CLASSES, True)):
            caplog.clear()
            model.test_step(batch_of(images, labels, 5, 5), 0)
            model.on_test_epoch_end()
            assert ("no better than always predicting the largest class" in caplog.text) == said


def test_every_augmentation_and_a_balanced_order_train_together(tmp_path: Path) -> None:
    augment = Augment(crop_scale=0.7, trivial_augment=True, erasing=0.5, mixup=0.2, cutmix=1.0)
    data = ImageData(
        "digits", batch_size=8, image_size=32, augment=augment, balanced=True, cache_dir=str(tmp_path / "packed")
    )
    batches: list[ImageBatch] = []

    class Noted(ImageClassifier):
        def training_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
            batches.append(batch)
            return super().training_step(batch, batch_idx)

    torch.manual_seed(0)
    model = Noted(10, backbone="shufflenet_v2_x0_5", weights="none")
    plain_trainer(tmp_path, limit_train_batches=3, limit_val_batches=0).fit(model, datamodule=data)
    assert len(batches) == 6
    assert all(batch.mixed_labels is not None and 0 <= batch.own_share <= 1 for batch in batches)
    assert len({batch.own_share for batch in batches}) == 6
    assert all(parameter.isfinite().all() for parameter in model.parameters())
