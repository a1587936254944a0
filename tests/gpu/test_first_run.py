"""The one command of a first GPU run, dry on a CPU: a minute of a GPU is not there to find a typing error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PARTS = ["doctor", "tests", "bench", "recipe", "resume", "profile"]
FIRST_RUN = Path(__file__).with_name("first_run.py")


@pytest.mark.slow
def test_a_dry_run_does_every_part_and_keeps_each_result(tmp_path: Path) -> None:
    command = [sys.executable, str(FIRST_RUN), "--dry_run", "--to", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    results = json.loads((tmp_path / "summary.json").read_text())
    assert [each["part"] for each in results if each["ok"]] == PARTS, done.stdout[-3000:]
    assert next(each["codes"] for each in results if each["part"] == "resume") == [75, 0]
    assert {f"{each['part']}.log" for each in results} | {"bench.json", "profile.txt"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert done.returncode == 0


def test_a_part_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(FIRST_RUN),
        "--to",
        str(tmp_path),
        "--data",
        "nowhere.zip",
        "--parts",
        "recipe",
        "doctor",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    results = json.loads((tmp_path / "summary.json").read_text())
    assert [(each["part"], each["ok"]) for each in results] == [("doctor", True), ("recipe", False)]
    assert "error: " in (tmp_path / "recipe.log").read_text()
    assert done.returncode == 1
