"""What is decided before torch is imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightning_app.errors import UsageError
from serve.__main__ import check, latest, parse


def test_the_latest_is_the_artifact_written_last_and_an_unfinished_run_has_none(tmp_path: Path) -> None:
    for age, run in enumerate(("b/version_3", "a/version_0", "b/version_2")):
        card = tmp_path / run / "model/model.json"
        card.parent.mkdir(parents=True)
        card.touch()
        os.utime(card, (1000 - age, 1000 - age))
    (tmp_path / "c/version_0/checkpoints").mkdir(parents=True)
    assert latest(tmp_path) == tmp_path / "b/version_3/model"


def test_where_no_run_has_ended_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=rf"no trained model below {tmp_path}; train one with make fit, or choose another --runs_dir"
    ):
        latest(tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [("port", "65536"), ("port", "-1"), ("threads", "0"), ("max_megabytes", "nan"), ("max_megapixels", "500")],
)
def test_a_number_that_cannot_be_is_named_with_what_can(option: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"--{option} is {value}; expected .* to .*\."):
        check(parse(["--latest", f"--{option}={value}"]))
