"""Which checkpoint a command line is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_app.cli.evaluation import as_resume, named_on


@pytest.mark.parametrize("where", ["command line", "config"])
def test_a_word_is_of_the_run_that_name_and_runs_dir_say(where: str, tmp_path: Path) -> None:
    best = tmp_path / "pets/version_3/checkpoints/best.ckpt"
    best.parent.mkdir(parents=True)
    best.touch()
    options = ["--name", "pets", "--runs_dir", str(tmp_path)]
    if where == "config":
        options = ["--config", f"{{name: pets, runs_dir: {tmp_path}}}"]
    assert named_on([*options, "--ckpt_path", "best"]) == best
    assert named_on(["--ckpt_path=best", *options]) == best
    assert named_on(options) is None


def test_lightnings_name_for_where_a_fit_begins_is_ours_too() -> None:
    given = ["--config", "ckpt_path.yaml", "--ckpt_path", "last", "--ckpt_path=a/b.ckpt", "--name", "--ckpt_paths"]
    meant = ["--config", "ckpt_path.yaml", "--resume", "last", "--resume=a/b.ckpt", "--name", "--ckpt_paths"]
    assert as_resume(given) == meant
