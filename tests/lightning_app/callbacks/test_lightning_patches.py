"""The parts of Lightning that we patch are as they were when lightning_patches.py was written."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import pytest
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loops import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

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
