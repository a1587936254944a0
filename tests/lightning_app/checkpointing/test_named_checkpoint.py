"""Which file `--ckpt_path` and `--resume` name."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_app.checkpointing.checkpoint_io import step_file
from lightning_app.checkpointing.named_checkpoint import CHECKPOINTS, Which, named_checkpoint
from lightning_app.errors import UsageError


def run(runs: Path, number: int, *steps: int, best: int | None = None) -> Path:
    """A run with empty checkpoints of these steps; returns their folder."""
    folder = runs / f"version_{number}" / CHECKPOINTS
    folder.mkdir(parents=True)
    for step in steps:
        step_file(folder, step).touch()
    if best is not None:
        (folder / "best.ckpt").symlink_to(step_file(folder, best).name)
    return folder


def test_the_words_are_of_the_newest_run_that_has_such_a_checkpoint(tmp_path: Path) -> None:
    validated = run(tmp_path, 2, 5, 70, best=5)
    newer = run(tmp_path, 10, 8, 30)
    run(tmp_path, 11)
    assert named_checkpoint("last", tmp_path, "best") == step_file(newer, 30)
    assert named_checkpoint("best", tmp_path, "last") == validated / "best.ckpt"


@pytest.mark.parametrize(("which", "name"), [("best", "best.ckpt"), ("last", "step-00000070.ckpt")])
def test_a_folder_is_a_run(which: Which, name: str, tmp_path: Path) -> None:
    folder = run(tmp_path, 2, 5, 70, best=5)
    run(tmp_path, 3, 90, best=90)
    assert named_checkpoint(str(folder.parent), tmp_path / "elsewhere", which) == folder / name


def test_a_path_stays_as_it_is(tmp_path: Path) -> None:
    run(tmp_path, 0, 5, best=5)
    assert named_checkpoint("some/file.ckpt", tmp_path, "best") == Path("some/file.ckpt")


@pytest.mark.parametrize("which", ["best", "last"])
@pytest.mark.parametrize("versions", [0, 1])
def test_where_there_is_none_the_error_says_where_it_looked(which: Which, versions: int, tmp_path: Path) -> None:
    for number in range(versions):
        run(tmp_path / "pets", number)
        with pytest.raises(UsageError, match=rf"version_0 has no {which} checkpoint in checkpoints/"):
            named_checkpoint(str(tmp_path / "pets/version_0"), tmp_path, which)
    with pytest.raises(UsageError, match=rf"no run in {tmp_path / 'pets'} has a {which} checkpoint\. .* --runs_dir"):
        named_checkpoint(which, tmp_path / "pets", "last")
