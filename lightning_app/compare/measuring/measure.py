"""The callback with which a compared run measures itself; each rank writes one file of figures.

Only `compare` adds it to a fit, through --trainer.callbacks+. Not counted: the first WARM_UP steps of a process, and
any step that starts an epoch, follows a validation, or shares its time with a checkpoint.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.nn.parallel import DistributedDataParallel

from lightning_app.compare.measuring.communication import Communication
from lightning_app.compare.measuring.energy import cpu_counter, gpu_counter
from lightning_app.compare.measuring.rules import PAIRS, WARM_UP
from lightning_app.compare.measuring.timestamps import Mark, Span, mark, seconds
from lightning_app.files import replace_file
from lightning_app.launchers.detection import this_launch

IMPORTED = time.time()  # the command line has been read by now, and what it names has been imported
READY = "ready"
POLL_SECONDS = 0.005


class Measure(pl.Callback):
    """Measures a run.

    Args:
        folder: of the run; rank r writes rank-r.json there.
        steps: counted steps after which training ends; 0 runs to the normal end.
        together: processes, each with a folder beside this one, that start counting at the same moment.
        pairs: steps with and without communication, after the counted ones.
    """

    def __init__(self, folder: str, steps: int = 0, together: int = 1, pairs: int = PAIRS) -> None:
        self.folder, self.steps, self.together, self.pairs = Path(folder), steps, together, pairs
        self.batches = 0
        self.periods: list[Span] = []
        self.data: list[list[Span]] = []  # for each counted period
        self.saves: list[float] = []
        self.validations: list[dict[str, Any]] = []
        self.found: dict[str, Any] = {"imported": IMPORTED, "validation_s": 0.0, "test_s": 0.0, "correct": None}
        self.communication: Communication | None = None
        self._since: Mark | None = None
        self._making: list[Span] = []
        self._began = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = trainer.strategy.root_device
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it, untyped
        data.make = self._timed_make(data.make)
        trainer.save_checkpoint = self._timed_save(trainer.save_checkpoint)  # type: ignore[method-assign]
        launch = this_launch()
        self._energy = gpu_counter(self.device), cpu_counter()
        self.found |= {
            "rank": trainer.global_rank,
            "local_rank": trainer.local_rank,
            "host": socket.gethostname(),
            "world_size": trainer.world_size,
            "launcher": launch.launcher,
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "precision": str(trainer.precision),
            "batch_size": data.batch_size,
        }

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found["training_began"] = time.time()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.communication:
            self.communication.begin()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches += 1
        if self.communication:
            self.communication.end()
            trainer.should_stop = self.communication.done
            return
        now = mark(self.device)
        if self.batches == 1:
            self._first_step(batch)
        if self._since is not None and self.batches > WARM_UP:
            self.periods.append((self._since, now))
            self.data.append(self._making)
        self._since, self._making = now, []
        if self.batches == WARM_UP and self.together > 1:
            self._wait_for_others()
        if self.steps and len(self.periods) == self.steps:
            self._counted(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found["training_ended"] = time.time()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since, self._began = None, time.time()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.time()
        self.found["validation_s"] += now - self._began
        accuracy = trainer.callback_metrics.get("val/acc")
        if accuracy is not None:
            self.validations.append({"time": now, "step": trainer.global_step, "accuracy": float(accuracy)})

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.time()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found["test_s"] = time.time() - self._began
        confusion = pl_module.results["test"]["confusion"]  # type: ignore[index]  # an ImageClassifier's
        self.found |= {"correct": int(confusion.trace()), "total": int(confusion.sum())}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Runs after fit and after test: the later file replaces the earlier one."""
        replace_file(self.folder / f"rank-{trainer.global_rank}.json", json.dumps(self._numbers()).encode())

    def _first_step(self, batch: Any) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.found |= {"first_step_ended": time.time(), "image_size": batch.images.shape[-1]}

    def _wait_for_others(self) -> None:
        """Wait until all processes that run at once have warmed up."""
        (self.folder / READY).touch()
        while len(list(self.folder.parent.glob(f"*/{READY}"))) < self.together:
            time.sleep(POLL_SECONDS)
        self._since = mark(self.device)

    def _counted(self, trainer: pl.Trainer) -> None:
        """What follows the last counted step."""
        if isinstance(trainer.model, DistributedDataParallel):
            self.communication = Communication(trainer.model, self.device, self.pairs)
        else:
            trainer.should_stop = True

    def _timed_make(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """The data path, between two marks."""

        def timed(shard: Any, device: torch.device) -> Any:
            began = mark(device)
            batch = make(shard, device)
            self._making.append((began, mark(device)))
            return batch

        return timed

    def _timed_save(self, save: Callable[..., None]) -> Callable[..., None]:
        def timed(*args: Any, **kwargs: Any) -> None:
            began = time.perf_counter()
            save(*args, **kwargs)
            self.saves.append(time.perf_counter() - began)
            self._since = None

        return timed

    def _numbers(self) -> dict[str, Any]:
        """All measurements, ready for JSON."""
        return self.found | {
            "steps": seconds(self.periods),
            "data": [sum(seconds(spans)) for spans in self.data],
            "checkpoint_s": sum(self.saves),
            "validations": self.validations,
            "communication": self.communication.seconds if self.communication else None,
            "buckets": self.communication.buckets if self.communication else None,
            "gpu_energy": gpu_counter(self.device).since(self._energy[0]),
            # The processors belong to the node: its first rank counts them for all.
            "cpu_energy": cpu_counter().since(self._energy[1]) if not self.found["local_rank"] else None,
            "host_memory": peak_host_memory(),
            "gpu_memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        }


def peak_host_memory() -> int:
    """This process's peak resident memory, in bytes."""
    # Linux counts in kB, macOS in bytes (getrusage(2)).
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
