"""HPARAMS distinguish runs."""

from __future__ import annotations

from lightning_app.results.hparams import hparams

DEFAULTS = {
    "seed_everything": 0,
    "name": "run",
    "model.dropout": None,
    "model.backbone": "mobilenet_v2",
    "model.lr_scheduler.class_path": "models.schedules.OneCycle",
    "data.val_fraction": 0.1,
    "ema_decay": 0.999,
}


def test_only_what_differs_from_the_defaults_is_there_and_what_every_run_shows() -> None:
    options = DEFAULTS | {"name": "other", "model.dropout": 0.5, "data.val_fraction": 0.2}
    shown = {"seed_everything": 0, "model.backbone": "mobilenet_v2"}
    assert hparams(options, DEFAULTS) == shown | {"model.dropout": 0.5, "data.val_fraction": 0.2}


def test_an_option_that_the_defaults_do_not_have_is_there() -> None:
    changed = {name: value for name, value in DEFAULTS.items() if "lr_scheduler" not in name}
    found = hparams(changed | {"model.lr_scheduler": None, "model.optimizer.init_args.momentum": 0.9}, DEFAULTS)
    assert found["model.lr_scheduler"] == "null"
    assert found["model.optimizer.init_args.momentum"] == 0.9


def test_what_is_no_number_or_text_is_json() -> None:
    options = DEFAULTS | {"model.freeze_layers": ["features.0"], "data.augment.flip": False}
    found = hparams(options, DEFAULTS)
    assert (found["model.freeze_layers"], found["data.augment.flip"]) == ('["features.0"]', False)
