"""The parts of Lightning that we patch are as they were when lightning_patches.py was written."""

from __future__ import annotations

import hashlib
import inspect
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loops import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from lightning_app.callbacks.lightning_patches import AveragedWeights, rewind

# The source of each in lightning 2.6.6. If one has changed, read the new source, fix lightning_patches.py if necessary,
# and put the new fingerprint here.
FINGERPRINTS = {
    _SignalConnector.register_signal_handlers: "cd4b642fd86b",
    _SignalConnector.teardown: "adc8388942cc",
    _TrainingEpochLoop._broadcast_sigterm_tensor: "d4e504c3f7d8",
    _TrainingEpochLoop.reset: "0014631aabe0",
    _TrainingEpochLoop.advance: "c7555c016027",
    _TrainingEpochLoop.on_advance_end: "2d1ddaa4e45e",
    _TrainingEpochLoop._should_accumulate: "5482f0c6d473",
    _TrainingEpochLoop.on_save_checkpoint: "bfe0a134bca7",
    _FitLoop._should_accumulate: "9c586074d9ec",
    _FitLoop.on_advance_end: "a87ac6110b43",
    WeightAveraging: "5b063a42ae6e",
}


def fingerprint(what: Any) -> str:
    """Of its source."""
    return hashlib.sha256(inspect.getsource(what).encode()).hexdigest()[:12]


@pytest.mark.parametrize("what", FINGERPRINTS, ids=lambda what: what.__qualname__)
def test_lightnings_private_parts_are_those_that_the_patches_were_written_against(what: Any) -> None:
    assert fingerprint(what) == FINGERPRINTS[what], (
        f"Lightning has changed {what.__qualname__}: see lightning_patches.py"
    )


def counts(ready: int, processed: int, completed: int) -> dict[str, int]:
    """Lightning's counters of something that starts when it is ready."""
    return {"ready": ready, "started": ready, "processed": processed, "completed": completed}


@pytest.mark.parametrize(("done", "epochs_begun"), [(0, 2), (3, 3)])
def test_a_rewound_checkpoint_has_not_started_its_next_batch_nor_an_epoch_without_a_batch(
    done: int, epochs_begun: int
) -> None:
    """After two epochs of five batches; an epoch is completed after it was processed, by a validation."""
    fit_loop = {
        "epoch_loop.batch_progress": {
            "total": counts(11 + done, 10 + done, 10 + done),
            "current": counts(1 + done, done, done),
            "is_last_batch": True,
        },
        "epoch_progress": {"total": counts(3, 2, 1), "current": counts(3, 2, 1)},
    }
    rewind(fit_loop)
    assert fit_loop == {
        "epoch_loop.batch_progress": {
            "total": counts(10 + done, 10 + done, 10 + done),
            "current": counts(done, done, done),
            "is_last_batch": False,
        },
        "epoch_progress": {name: counts(epochs_begun, 2, 1) for name in ("total", "current")},
    }


def test_the_average_is_built_where_the_model_will_be() -> None:
    module = pl.LightningModule()
    module.weight = torch.nn.Parameter(torch.ones(2))
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    average = AveragedWeights()
    average.setup(trainer, module, "fit")
    assert [parameter.device.type for parameter in (*module.parameters(), *average.averaged.parameters())] == [
        "cpu",
        "meta",
    ]
