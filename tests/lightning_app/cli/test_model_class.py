"""A subclass of the module is named on the command line, and has its own options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from lightning_app.__main__ import main
from lightning_app.cli.model_class import DEFAULT, chosen_model, import_model
from lightning_app.errors import UsageError
from models.classifier import ImageClassifier
from models.schedules import OneCycle

PAGE = Path(__file__).parents[3] / "docs/library.md"
MODULE = """\
from models.classifier import ImageClassifier
class One(ImageClassifier): pass
class Two(ImageClassifier): pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's modules, from which the program is started."""
    (tmp_path / "own_models.py").write_text(MODULE)
    [focal] = re.findall(r"^## A model class of your own\n.*?^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    (tmp_path / "focal.py").write_text(focal)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ("--trainer.max_epochs 1 --config plain.yaml", "ImageClassifier"),
        ("--config one.yaml", "One"),
        ("-c one.yaml --config=plain.yaml", "One"),
        ("--config one.yaml --model_class own_models.Two", "Two"),
        ("--model_class=own_models.Two --config one.yaml", "One"),
        ('--config {"model_class":"own_models.One"}', "One"),
    ],
)
def test_the_last_one_named_counts_as_for_every_option(args: str, name: str, own: Path) -> None:
    (own / "one.yaml").write_text("model_class: own_models.One\n")
    (own / "plain.yaml").write_text("name: plain\nmodel:\n  weights: none\n")
    assert chosen_model(args.split()).__name__ == name


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.Model", "cannot be imported (No module named 'nowhere')"),
        ("own_models.Three", "has no attribute 'Three'"),
        ("One", "cannot be imported (Empty module name)"),
        ("torch.nn.Linear", "which is not a subclass"),
        ("models.classifier", "which is not a subclass"),
    ],
)
def test_what_is_no_such_class_is_one_error(path: str, said: str, own: Path) -> None:
    with pytest.raises(UsageError, match=f"model_class is {path}.*expected the import path of a subclass") as error:
        import_model(path)
    assert said in str(error.value)


def test_the_default_is_the_module_itself() -> None:
    assert import_model(DEFAULT) is ImageClassifier


@pytest.mark.slow
def test_a_run_of_a_subclass_knows_it(own: Path, short: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--model_class", "focal.FocalClassifier", "--model.gamma", "1.5"]
    assert main(["fit", *short, *named]) == 0
    run = own / "runs/short/version_0"
    options = yaml.safe_load((run / "config.yaml").read_text())
    assert (options["model_class"], options["model"]["gamma"]) == ("focal.FocalClassifier", 1.5)
    assert main(["fit", "--config", str(run / "config.yaml"), "--name", "again"]) == 0

    best = str(run / "checkpoints/best.ckpt")
    for verb in ("validate", "predict"):
        assert main([verb, "--ckpt_path", best]) == 0
    assert main(["test", "--ckpt_path", best, "--model_class", "own_models.One"]) == 2
    assert "model_class is focal.FocalClassifier there and own_models.One here" in capsys.readouterr().err

    loaded = import_model("focal.FocalClassifier").load_from_checkpoint(best)
    assert (loaded.gamma, type(loaded).__name__) == (1.5, "FocalClassifier")
    optimizer = loaded.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert (type(optimizer), optimizer.defaults["lr"]) == (torch.optim.AdamW, 0.003)
    assert isinstance(loaded.lr_scheduler(optimizer), OneCycle)
