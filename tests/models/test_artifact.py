"""The artifact: what is saved is what is loaded, by a program that knows nothing of training."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import prepare_fx
from torchvision.models.feature_extraction import create_feature_extractor

import models.artifact
from models.artifact import load_artifact, save_artifact
from models.card import read_card
from models.errors import ModelError
from models.normalized_network import Network

REPOSITORY = Path(__file__).parents[2]
CARD: dict[str, Any] = {
    "backbone": "mobilenet_v2",
    "classes": ["ant", "bee", "cat"],
    "input_size": 32,
    "mean": [0.4, 0.5, 0.6],
    "std": [0.1, 0.2, 0.3],
    "metrics": {"test/acc": 0.5},
}


def network(seed: int) -> Network:
    """A network for the card's classes."""
    torch.manual_seed(seed)
    return Network(CARD["backbone"], len(CARD["classes"]), CARD["mean"], CARD["std"]).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An artifact on disk."""
    save_artifact(tmp_path / "model", network(0), CARD)
    return tmp_path / "model"


def test_a_loaded_artifact_gives_the_same_logits_to_the_last_bit(saved: Path) -> None:
    images = torch.rand(5, 3, 32, 32)
    loaded, card = load_artifact(saved)
    assert torch.equal(loaded(images), network(0)(images))
    assert card == CARD | {"schema": 1}
    assert not loaded.training


def test_an_artifact_is_two_files(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "weights.safetensors"]
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_pictures_lie_where_the_card_says_and_go_with_the_artifact(saved: Path) -> None:
    card = CARD | {"examples": [{"file": "examples/00.png"}]}
    save_artifact(saved, network(0), card, {"examples/00.png": b"content"})
    assert (saved / load_artifact(saved)[1]["examples"][0]["file"]).read_bytes() == b"content"
    save_artifact(saved, network(0), CARD)
    assert not (saved / "examples").exists()


@pytest.mark.slow
def test_loading_imports_neither_lightning_nor_the_program_nor_the_data(saved: Path) -> None:
    code = "import sys\nfrom models.artifact import load_artifact\nload_artifact(sys.argv[1])\nprint(*sys.modules)\n"
    process = subprocess.run(
        [sys.executable, "-c", code, str(saved)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    imported = set(process.stdout.split())
    unwanted = {"lightning", "pytorch_lightning", "torchmetrics", "jsonargparse", "datamodules"}
    assert imported & unwanted == set()
    # Of the program, only the leaves that every room may import.
    of_program = {name for name in imported if name.startswith("lightning_app")}
    leaves = {f"lightning_app.{name}" for name in ("downloads", "errors", "files")}
    assert of_program <= {"lightning_app", *leaves}
    assert {"torch", "models"} <= imported


def test_an_artifact_of_a_newer_schema_is_refused(saved: Path) -> None:
    (saved / "model.json").write_text(json.dumps(CARD | {"schema": 2}))
    with pytest.raises(ModelError, match="has schema 2, but this program reads up to 1; update the program"):
        load_artifact(saved)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{half a", "is not a valid model card: Invalid JSON"),
        ("[]", "is not a valid model card: expected backbone, classes, mean, std"),
        ('{"schema": 1, "backbone": "resnet18", "classes": []}', "is not a valid model card: it lacks mean, std"),
    ],
)
def test_a_card_that_is_none_is_refused(content: str, said: str, saved: Path) -> None:
    (saved / "model.json").write_text(content)
    with pytest.raises(ModelError, match=said):
        load_artifact(saved)


def test_a_checkpoint_in_its_place_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(ModelError, match=r"last\.ckpt is a file; expected the folder with model\.json"):
        load_artifact(tmp_path / "last.ckpt")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"no model artifact at {tmp_path}/nowhere"):
        load_artifact(tmp_path / "nowhere")


def test_an_artifact_without_its_weights_is_refused(saved: Path) -> None:
    (saved / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=f"no weights at {saved}/weights.safetensors"):
        load_artifact(saved)


def test_an_artifact_with_truncated_weights_is_refused(saved: Path) -> None:
    weights = saved / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=f"cannot read weights from {weights}"):
        load_artifact(saved)


def test_an_artifact_with_weights_for_other_classes_is_refused(saved: Path) -> None:
    (saved / "model.json").write_text(json.dumps(CARD | {"schema": 1, "classes": ["ant", "bee"]}))
    with pytest.raises(ModelError, match=r"classifier\.1\.bias is \(3,\), expected \(2,\)"):
        load_artifact(saved)


def test_saving_again_replaces_the_artifact(saved: Path) -> None:
    save_artifact(saved, network(1), CARD | {"metrics": {"test/acc": 0.75}})
    images = torch.rand(2, 3, 32, 32)
    loaded, card = load_artifact(saved)
    assert torch.equal(loaded(images), network(1)(images))
    assert card["metrics"] == {"test/acc": 0.75}
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_an_interrupted_save_leaves_the_old_artifact(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(models.artifact, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_artifact(saved, network(1), CARD)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_artifact(saved)[0](images), network(0)(images))
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_new_artifact_is_on_the_disk_before_the_old_one_makes_room(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(call: Callable[..., None]) -> Callable[..., None]:
        def note(what: Any, *args: Any, **kwargs: Any) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what)
            done.append(f"{call.__name__} {path.name.replace(str(os.getpid()), 'n')}")
            call(what, *args, **kwargs)

        return note

    for module, name in ((os, "fsync"), (os, "rename"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    save_artifact(saved, network(1), CARD, {"examples/00.png": b"content"})
    synced = {".model.n.tmp", "weights.safetensors", "examples", "00.png", "model.json"}
    before, renames = done[1:6], done[6:]
    assert set(before) == {f"fsync {name}" for name in synced}
    assert renames[:2] == ["rename model", "rename .model.n.tmp"]
    assert renames[2:4] == [f"fsync {saved.parent.name}", "rmtree .model.n.old"]


def test_an_artifact_that_cannot_be_put_in_place_costs_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if target == saved:
            raise OSError
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError):  # noqa: PT011 - which one, the test has said
        save_artifact(saved, network(1), CARD)
    [left] = saved.parent.iterdir()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_artifact(left)[0](images), network(0)(images))


@pytest.mark.slow
@pytest.mark.parametrize("under_no_grad", [False, True])
def test_a_loaded_network_can_be_traced_and_saved(saved: Path, tmp_path: Path, under_no_grad: bool) -> None:
    loaded, _ = load_artifact(saved)
    images = torch.rand(2, 3, 32, 32)
    with torch.set_grad_enabled(not under_no_grad):
        torch.jit.trace(loaded, images).save(tmp_path / "traced.pt")
    torch.testing.assert_close(torch.jit.load(tmp_path / "traced.pt")(images), loaded(images))


def test_a_loaded_network_is_one_graph_for_fx_and_its_features_can_be_taken(saved: Path) -> None:
    loaded, _ = load_artifact(saved)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(torch.fx.symbolic_trace(loaded)(images), loaded(images))
    features = create_feature_extractor(loaded.backbone, {"features.18": "maps"})
    assert features(images)["maps"].shape == (2, 1280, 1, 1)


def test_a_loaded_network_can_be_quantised(saved: Path) -> None:
    loaded, _ = load_artifact(saved)
    images = torch.rand(2, 3, 32, 32)
    prepared = prepare_fx(loaded, get_default_qconfig_mapping("x86"), (images,))
    assert any("Observer" in type(module).__name__ for module in prepared.modules())
    torch.testing.assert_close(prepared(images), network(0)(images), rtol=1e-4, atol=1e-4)


def test_a_mnasnet_is_loaded_though_a_file_has_no_versions(tmp_path: Path) -> None:
    card = CARD | {"backbone": "mnasnet0_5"}
    save_artifact(tmp_path / "model", Network("mnasnet0_5", 3), card)
    assert load_artifact(tmp_path / "model")[1]["backbone"] == "mnasnet0_5"


BROKEN: dict[str, dict[str, Any]] = {
    "schema: Input should be a valid integer; found None": {"schema": None},
    "classes: Input should be a valid array; found 5": {"classes": 5},
    "classes.1: Input should be a valid string; found 2": {"classes": ["a", 2, "c"]},
    "classes: Value error, 'a' appears twice; found ['a', 'b', 'a']": {"classes": ["a", "b", "a"]},
    "classes.0: Value error, it has a control character; found 'a\\x00b'": {"classes": ["a\0b", "b", "c"]},
    "input_size: Input should be a valid integer; found '64'": {"input_size": "64"},
    "input_size: Input should be less than or equal to 4096; found 20000": {"input_size": 20000},
    "stored_size: Input should be greater than or equal to 1; found 0": {"stored_size": 0},
    "mean.2: Field required; found [0.1, 0.2]": {"mean": [0.1, 0.2]},
    "std.0: Input should be greater than 0.000001; found 0": {"std": [0, 1, 1]},
    "std.1: Input should be a finite number; found nan": {"std": [1.0, float("nan"), 1.0]},
    "metrics: Input should be an object; found None": {"metrics": None},
    "metrics.test/acc: Input should be a valid number; found 'high'": {"metrics": {"test/acc": "high"}},
    "confusion.test: expected 3 rows of 3 counts, as there are classes": {"confusion": {"test": [[1, 2], [3, 4]]}},
    "uncertain.precision: Field required; found {'threshold': 0.5}": {"uncertain": {"threshold": 0.5}},
    "provenance.data.str: Input should be a valid string; found ['a']": {"provenance": {"data": ["a"]}},
    "examples.0.file: Input should be a valid string; found 5": {"examples": [{"file": 5}]},
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_card_that_is_none_is_told_in_one_line_with_the_place(said: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(CARD | BROKEN[said]))
    with pytest.raises(ModelError) as error:
        read_card(tmp_path)
    assert str(error.value) == f"{tmp_path}/model.json is not a valid model card: {said}."


@pytest.mark.parametrize("content", [b"", b"hello", b"[]", b'{"x":' + b"[" * 200_000, '{"é": 1}'.encode("latin-1")])
def test_what_is_no_json_object_is_told_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json is not a valid model card: .*\.$"):
        read_card(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "examples/00.png"])
def test_a_link_in_an_artifact_is_refused(name: str, saved: Path) -> None:
    path = saved / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match=f"{name} is a link or not a regular file"):
        load_artifact(saved)


def test_weights_that_are_no_numbers_are_refused(saved: Path) -> None:
    broken = network(0)
    broken.backbone.classifier[1].weight.data[1, 5] = float("nan")
    save_artifact(saved, broken, CARD)
    with pytest.raises(ModelError, match=r"is NaN or infinite in classifier\.1\.weight: its training diverged"):
        load_artifact(saved)


def test_all_files_of_an_artifact_have_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o026)
    try:
        save_artifact(tmp_path / "model", network(0), CARD, {"examples/00.png": b"content"})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert modes == dict.fromkeys(["00.png", "model.json", "weights.safetensors"], 0o640)
