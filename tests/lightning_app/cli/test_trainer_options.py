"""Every option of Lightning's Trainer works, or says in one line why not; docs/options.md has the table.

A new version of Lightning with a new option fails here until the option has a row. WRITE_DOCS=1 writes the table.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import pytest
import torch

from lightning_app.__main__ import main
from lightning_app.cli.cli import CLI
from lightning_app.cli.config_files import resolve_configs
from models.classifier import ImageClassifier

PAGE = Path(__file__).parents[3] / "docs/options.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
CALLBACKS, LOGGERS = "lightning.pytorch.callbacks", "lightning.pytorch.loggers"


class Row(NamedTuple):
    """What happens to an option.

    Attributes:
        value: tried by the test.
        refused: part of the one line that it ends with; empty if it works.
        note: for docs/options.md.
    """

    value: str
    refused: str = ""
    note: str = ""


ROWS: dict[str, list[Row]] = {
    "accelerator": [
        Row("cpu", note="if it agrees with the strategy; `cpu` hides the GPUs"),
        Row("tpu", "accelerator is tpu, but --trainer.strategy leads to cpu", "accelerators other than cpu and gpu"),
    ],
    "strategy": [
        Row("auto", note="`auto`, `cpu`, `gpu` or `ddp`"),
        Row("lightning.pytorch.strategies.SingleDeviceStrategy", note="a Strategy by class path"),
        Row("ddp_spawn", "Lightning's name; expected one of auto, cpu, gpu, ddp", "Lightning's names"),
    ],
    "devices": [
        Row("auto", note="processes of `ddp`; `auto` and `-1` are one per GPU, or as many as the launcher started"),
        Row("-1"),
        Row("0", "devices is 0; expected 1 or more, auto or -1", "0"),
    ],
    "num_nodes": [Row("1", note="ignored: the launcher decides")],
    "precision": [
        Row("bf16-mixed", note="default: bf16-mixed if the device has bf16, else 16-mixed on a GPU, else 32-true"),
        Row("64-true", "images, metrics and averaged weights are float32", "16-true, bf16-true and 64-true"),
        Row("64", "images, metrics and averaged weights are float32"),
        Row("15", "Precision '15' is invalid", "unknown names"),
    ],
    "logger": [
        Row("false", note="`false` still writes metrics.csv, which curves and cards need"),
        Row(f"{LOGGERS}.CSVLogger", note="another logger replaces TensorBoard's, not metrics.csv"),
    ],
    "callbacks": [
        Row(f"{CALLBACKS}.TQDMProgressBar", note="a progress bar replaces ours"),
        Row(f"{CALLBACKS}.Timer"),
        Row(f"{CALLBACKS}.EMAWeightAveraging", "add --ema_decay 0", "other averages need `--ema_decay 0`"),
        Row(f"{CALLBACKS}.BatchSizeFinder", "would change data.batch_size", "BatchSizeFinder"),
        Row(f"{CALLBACKS}.LearningRateFinder", "an attribute model.lr", "LearningRateFinder"),
        Row(f"{CALLBACKS}.StochasticWeightAveraging", "cannot continue from within", "StochasticWeightAveraging"),
        Row(f"{CALLBACKS}.BackboneFinetuning", "Use --model.freeze_backbone", "BackboneFinetuning"),
    ],
    "fast_dev_run": [Row("true", note="keeps nothing: no folder, no checkpoint, no log")],
    "max_epochs": [Row("2")],
    "min_epochs": [Row("1")],
    "max_steps": [Row("5")],
    "min_steps": [Row("2")],
    "max_time": [Row("00:01:00:00", note="needs max_epochs or max_steps, unless the schedule is null")],
    "limit_train_batches": [Row("2"), Row("-1", "has to be in [0.0, 1.0] or an int", "negative numbers")],
    "limit_val_batches": [Row("1")],
    "limit_test_batches": [Row("1")],
    "limit_predict_batches": [Row("1")],
    "overfit_batches": [Row("1", note="the same batches with the same augmentation in every epoch")],
    "val_check_interval": [
        Row("0.5", note="also within an accumulated step: the weights kept are the ones validated"),
        Row("1.5", "has to be in [0.0, 1.0] or an int", "a fraction above 1"),
    ],
    "check_val_every_n_epoch": [Row("2")],
    "num_sanity_val_steps": [Row("1", note="default 0; its metrics are not logged")],
    "log_every_n_steps": [Row("2"), Row("0", "log_every_n_steps is 0; expected 1 or more", "0")],
    "enable_checkpointing": [Row("false", note="switches Lightning's ModelCheckpoint; ours are `--checkpoint.*`")],
    "enable_progress_bar": [Row("false", note="`false`: no bar, no lines")],
    "enable_model_summary": [Row("true", note="default false")],
    "accumulate_grad_batches": [Row("2")],
    "gradient_clip_val": [Row("0.5")],
    "gradient_clip_algorithm": [Row("value"), Row("foo", "`gradient_clip_algorithm` foo is invalid", "unknown names")],
    "deterministic": [Row("warn")],
    "benchmark": [Row("true")],
    "inference_mode": [Row("false")],
    "use_distributed_sampler": [Row("true", note="ignored: our sampler handles ranks")],
    "profiler": [Row("simple"), Row("foo", "it can only be one of ['simple'", "unknown names")],
    "detect_anomaly": [Row("true")],
    "barebones": [Row("true", "barebones true turns off logging, checkpoints and progress", "always")],
    "plugins": [
        Row("lightning_app.environment.LauncherEnvironment", note="a cluster environment by class path"),
        Row("lightning.pytorch.plugins.io.AsyncCheckpointIO", "has a CheckpointIO of its own", "another CheckpointIO"),
        Row("lightning.pytorch.plugins.precision.DoublePrecision", "use --trainer.precision", "a precision"),
    ],
    "sync_batchnorm": [Row("false", note="true needs GPUs")],
    "reload_dataloaders_every_n_epochs": [Row("1")],
    "default_root_dir": [Row("elsewhere", note="the run's folder is `--runs_dir`/`--name`")],
    "enable_autolog_hparams": [Row("false")],
    "model_registry": [Row("name", note="only with the package litmodels")],
}
EVERY = [pytest.param(name, row, id=f"{name}={row.value}") for name, rows in ROWS.items() for row in rows]


class Prepared(CLI):
    """A fit up to its first step."""

    def _run_subcommand(self, subcommand: str) -> None:
        self.before_fit()


def words(name: str, row: Row, short: list[str], folder: Path) -> list[str]:
    """A fit with that option."""
    device = ["--trainer.strategy.device", "cpu"] if row.value.endswith("SingleDeviceStrategy") else []
    where = ["--trainer.logger.save_dir", str(folder)] if row.value.endswith("CSVLogger") else []
    rate = ["--trainer.callbacks.swa_lrs", "0.1"] if row.value.endswith("StochasticWeightAveraging") else []
    return ["fit", *short, "--runs_dir", str(folder), f"--trainer.{name}", row.value, *device, *where, *rate]


def test_every_option_of_the_trainer_has_a_row() -> None:
    assert set(ROWS) == set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "row"), EVERY)
def test_an_option_works_or_is_refused_in_one_line_that_leaves_nothing(
    name: str, row: Row, short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not row.refused:
        Prepared(resolve_configs(words(name, row, short, tmp_path)), started=0.0)
        return
    assert main(words(name, row, short, tmp_path)) == 2
    said = capsys.readouterr().err
    [line] = [line for line in said.splitlines() if line.startswith(("error: ", "Traceback"))]
    assert row.refused in line
    assert list(tmp_path.iterdir()) == []


def test_overfit_batches_trains_on_the_same_pixels_in_every_epoch(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, torch.Tensor]] = []
    training_step = ImageClassifier.training_step

    def step(module: ImageClassifier, batch: Any, batch_idx: int) -> Any:
        seen.append((module.trainer.current_epoch, batch.images.clone()))
        return training_step(module, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "training_step", step)
    assert main(["fit", *short, "--trainer.overfit_batches", "2", "--runs_dir", str(tmp_path)]) == 0
    assert [epoch for epoch, _ in seen] == [0, 0, 1, 1, 2, 2]
    images = [pixels for _, pixels in seen]
    assert not torch.equal(images[0], images[1])
    assert [torch.equal(images[at], images[at % 2]) for at in range(6)] == [True] * 6


def table() -> str:
    """What docs/options.md has to say."""
    lines = ["| option of `--trainer.` | works | ends with one line |", "| --- | --- | --- |"]
    for name, rows in ROWS.items():
        works = "; ".join(row.note for row in rows if not row.refused and row.note)
        yes = works or ("yes" if any(not row.refused for row in rows) else "")
        lines.append(f"| `{name}` | {yes} | {'; '.join(row.note for row in rows if row.refused and row.note)} |")
    return "\n".join(lines)


def test_the_page_of_options_has_this_table() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    expected = f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(expected)
    assert PAGE.read_text() == expected
