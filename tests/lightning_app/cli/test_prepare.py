"""A fit finds what prepare downloaded and packed; what is damaged or cannot be downloaded is reported."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from lightning_app.__main__ import main
from models.backbones import build_backbone

Run = Callable[..., tuple[int, str]]
NOWHERE = "http://127.0.0.1:9"  # a proxy where nobody listens: no test may download 170 MB


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("no_proxy", "")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The program: its exit code, and its standard error."""
    return lambda *args: (main([*args]), capsys.readouterr().err)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with images and weights."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        for number, kind in enumerate(("cat", "dog")):
            (folder := tmp_path / "photos" / split / kind).mkdir(parents=True)
            for image in range(4):
                Image.new("RGB", (8, 8), (number * 200, image * 60, 0)).save(folder / f"{image}.png")
    save_file(build_backbone("resnet18", 1000).state_dict(), tmp_path / "weights.safetensors")
    return tmp_path


OPTIONS = [
    *("--config", "configs/image_folder.yaml", "--data.root", "photos", "--data.stored_size", "8"),
    *("--model.backbone", "resnet18", "--model.weights", "weights.safetensors"),
]


def test_it_packs_the_data_checks_the_weights_and_makes_nothing_else(run: Run, place: Path) -> None:
    before = set(place.iterdir())
    code, said = run("prepare", *OPTIONS, "--trainer.strategy", "gpu")  # a login node has no GPU
    assert code == 0
    assert re.search(r"data: data/packed/image_folder-\w+, 16 images of 2 classes, ready", said)
    assert "weights: weights.safetensors; its classifier for 1000 classes is replaced with one for 2" in said
    assert {path.name for path in set(place.iterdir()) - before} == {"data"}


def test_a_second_time_there_is_nothing_to_pack(run: Run, place: Path) -> None:
    assert "packing" in run("prepare", *OPTIONS)[1]
    assert "packing" not in run("prepare", *OPTIONS)[1]


def test_verify_passes_what_is_whole_and_refuses_a_flipped_bit(run: Run, place: Path) -> None:
    code, said = run("prepare", *OPTIONS, "--verify")
    assert (code, "all checksums match" in said) == (0, True)
    [images] = place.glob("data/packed/*/images.npy")
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    code, said = run("prepare", *OPTIONS, "--verify")
    assert code == 2
    assert "is damaged: images.npy changed since it was written" in said


@pytest.mark.slow
def test_clean_removes_the_other_packed_data_and_says_so(run: Run, place: Path) -> None:
    run("prepare", *OPTIONS)
    assert "data/packed has 1 other packed data sets, 0 MB" in run("prepare", *OPTIONS, "--data.stored_size", "9")[1]
    code, said = run("prepare", *OPTIONS, "--clean")
    [kept] = place.glob("data/packed/*/meta.json")
    assert (code, len(re.findall(r"removed data/packed/image_folder-\w+, 0 MB", said))) == (0, 1)
    assert f"data: {kept.parent.relative_to(place)}, 16 images" in said


def test_weights_of_another_network_are_refused(run: Run, place: Path) -> None:
    code, said = run("prepare", *OPTIONS, "--model.backbone", "resnet34")
    assert code == 2
    assert "does not fit this backbone" in said


@pytest.mark.parametrize("verb", ["prepare", "fit"])
def test_without_data_and_network_one_line_sends_the_user_to_a_login_node(
    verb: str, run: Run, empty_folder: Path
) -> None:
    code, said = run(verb, "--config", "configs/cifar10.yaml", "--trainer.strategy", "cpu")
    assert code == 2
    last = said.splitlines()[-1]
    assert last.startswith("error: CIFAR-10 is not in data and could not be downloaded")
    assert "run `python -m lightning_app prepare` with the same options on a login node" in last


def test_without_weights_and_network_too(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(place / "torch"))
    code, said = run("fit", *OPTIONS, "--model.weights", "imagenet", "--trainer.strategy", "cpu")
    assert code == 2
    last = said.splitlines()[-1]
    assert last.startswith("error: cannot download the ImageNet weights of resnet18")
    assert "on a login node" in last


def test_help_says_that_the_options_are_those_of_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--help"]) == 0
    assert "[the options of fit]" in capsys.readouterr().out
