"""docs/your-own-images.md, from a folder of photographs to the demo's answer."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_server import running
from PIL import Image

REPOSITORY = Path(__file__).parents[1]
pytestmark = pytest.mark.xdist_group("walk-through")
PAGE = (REPOSITORY / "docs/your-own-images.md").read_text()
COLORS = {"cat": (200, 60, 40), "dog": (40, 160, 60), "owl": (50, 70, 190)}
FORMATS = (("jpg", "RGB"), ("png", "RGBA"), ("webp", "RGB"), ("png", "L"))
TRAIN, TEST = 14, 4  # images a class
# Without a network, and in seconds instead of minutes.
QUICKER = "--model.weights none --trainer.max_epochs 1 --data.image_size 64 --data.stored_size 64 --data.batch_size 12"


def photograph(path: Path, color: tuple[int, int, int], mode: str, rng: np.random.Generator) -> None:
    """Noise of one colour, of any size."""
    height, width = rng.integers(40, 300, size=2)
    pixels = np.clip(rng.normal(color, 40, (height, width, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ in it."""
    folder, rng = tmp_path_factory.mktemp("here"), np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("test", TEST)):
        for name, color in COLORS.items():
            for number in range(count):
                suffix, mode = FORMATS[number % len(FORMATS)]
                photograph(folder / f"photos/{split}/{name}/{number}.{suffix}", color, mode, rng)
    photograph(folder / "new.jpg", COLORS["owl"], "RGB", rng)
    return folder


def of_the_page(program: str) -> list[str]:
    """The words of the page's one command that starts like this."""
    (found,) = re.findall(rf"^{program}.*$", PAGE, flags=re.MULTILINE)
    return shlex.split(found)[1:]


def python(here: Path, words: list[str]) -> str:
    """Run a command of the page; returns what it prints."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.run([sys.executable, *words], cwd=here, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def model(here: Path) -> Path:
    """The artifact that the page's fit writes."""
    said = python(here, [*of_the_page("python -m lightning_app fit"), *shlex.split(QUICKER)])
    assert f"of {len(COLORS) * TEST} held-out images" in said
    return here / "runs/image_folder/version_0/model"


@pytest.fixture(scope="module")
def answer(model: Path, here: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the page's program gets from the demo for new.jpg."""
    assert of_the_page("python -m serve") == ["-m", "serve", "--latest"]
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    with running(model, tmp_path_factory.mktemp("uploads")) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        names: dict[str, Any] = {}
        exec(code.replace("http://127.0.0.1:7860", server.url), names)
        yield names["answer"]


def test_the_fit_counts_every_test_image_and_draws_the_confusion_matrix(model: Path) -> None:
    card = json.loads((model / "model.json").read_text())
    assert card["classes"] == list(COLORS)
    assert [sum(row) for row in card["confusion"]["test"]] == [TEST] * len(COLORS)
    with Image.open(model.parent / "confusion.png") as picture:
        assert min(picture.size) > 100
    assert len(list((model / "examples").iterdir())) > 0


def test_the_demo_answers_a_program_as_label_does(answer: dict[str, Any], model: Path, here: Path) -> None:
    python(here, ["-m", "lightning_app", "label", "new.jpg", "--model", str(model), "--to", "new.csv"])
    (row,) = csv.DictReader((here / "new.csv").read_text().splitlines())
    assert answer["label"] == row["label"]
    assert answer["confidence"] == pytest.approx(float(row["confidence"]), abs=1e-4)
    assert set(answer["probabilities"]) == set(COLORS)


def test_a_folder_is_labelled_into_a_table(model: Path, here: Path) -> None:
    python(here, of_the_page("python -m lightning_app label"))
    rows = list(csv.DictReader((here / "labels.csv").read_text().splitlines()))
    assert sorted(row["path"] for row in rows) == sorted(
        path.relative_to(here).as_posix() for path in (here / "photos/test").rglob("*.*")
    )
    assert {row["error"] for row in rows} == {""}
