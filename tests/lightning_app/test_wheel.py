"""The wheel: what is in it, and that it trains from a clean folder without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = {"lightning_app", "models", "datamodules", "serve"}
Program = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run("build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY))
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with only the wheel's content."""
    target = tmp_path_factory.mktemp("site")
    run("pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def run(*module: str) -> None:
    """Run a Python module, away from the checkout."""
    process = subprocess.run([sys.executable, "-m", *module], cwd=os.sep, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def sources(folder: Path, pattern: str) -> set[str]:
    """Files of the checkout, relative to it."""
    return {path.relative_to(REPOSITORY).as_posix() for path in folder.rglob(pattern)}


def test_the_wheel_holds_the_packages_and_the_recipes_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = set().union(*(sources(REPOSITORY / package, "*.py") for package in PACKAGES))
    recipes = {f"lightning_app/{name}" for name in sources(REPOSITORY / "configs", "*.yaml")}
    assert "lightning_app/configs/quickstart.yaml" in recipes
    assert {name for name in names if name.endswith((".py", ".yaml"))} == modules | recipes
    assert {name.split("/")[0] for name in names} == PACKAGES


def test_the_packages_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = f"print(*sorted(__import__(name).__file__ for name in {sorted(PACKAGES)}))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [str(installed / name / "__init__.py") for name in sorted(PACKAGES)]


def test_the_wheel_fits_the_quickstart_from_a_clean_folder(
    installed: Path, program: Program, cache_dir: str, tmp_path: Path
) -> None:
    few = [f"--trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]
    quick = [*few, "--trainer.max_epochs=1", "--data.image_size=32", f"--data.cache_dir={cache_dir}"]
    fit = ["fit", "--config", "configs/quickstart.yaml", "--trainer.strategy=cpu", *quick]
    process = program(*fit, cwd=tmp_path, path=installed)
    assert process.returncode == 0, process.stderr
    assert "Files in runs/quickstart/version_0:" in process.stdout
    assert (tmp_path / "runs/quickstart/version_0/model/model.json").exists()
