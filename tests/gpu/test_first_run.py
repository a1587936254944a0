"""The one command of a first GPU run, as a dry run on a CPU: time on a GPU is too short to find a typing error."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

import first_run
import pytest
from first_run import Part, parts, run_all

PARTS = ["doctor", "tests", "bench", "recipe", "resume", "profile"]
FIRST_RUN = Path(__file__).with_name("first_run.py")


@pytest.mark.slow
def test_a_dry_run_does_every_part_and_keeps_each_result(tmp_path: Path) -> None:
    command = [sys.executable, str(FIRST_RUN), "--dry_run", "--to", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    results = json.loads((tmp_path / "summary.json").read_text())
    assert [each["part"] for each in results if each["ok"]] == PARTS, done.stdout[-3000:]
    assert next(each["codes"] for each in results if each["part"] == "resume") == [75, 0]
    files = {f"{each['part']}.log" for each in results} | {"bench.json", "compiled.json", "profile.txt"}
    assert files <= {path.name for path in tmp_path.iterdir()}
    [ratio] = json.loads((tmp_path / "compiled.json").read_text())["ratios"]
    assert ratio.startswith("torch.compile / without")
    assert done.returncode == 0


@pytest.mark.slow
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


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_a_part_that_is_over_its_time_is_ended_and_the_next_one_runs_within_what_is_left(tmp_path: Path) -> None:
    waits = "try: time.sleep(600)\nexcept KeyboardInterrupt: sys.exit(print('told') or 2)"
    hangs = f"print('begun'); import sys, time\n{waits}"
    parts = [
        Part("hangs", 2, [python(hangs), python("print('never')")], over=signal.SIGINT),
        Part("next", 60, [python("print('there')")]),
    ]
    results = run_all(parts, tmp_path)
    assert [(each["part"], each["ok"]) for each in results] == [("hangs", False), ("next", True)]
    assert [(tmp_path / f"{name}.log").read_text() for name in ("hangs", "next")] == ["begun\ntold\n", "there\n"]


def test_a_part_gets_what_those_before_it_left_of_nine_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = argparse.Namespace(to=tmp_path, data=None, weights=None, parts=None, dry_run=False)
    every = parts(options)
    assert [part.name for part in every] == PARTS
    assert sum(part.seconds for part in every) == 9 * 60
    deadlines: list[float] = []
    monkeypatch.setattr(first_run, "run", lambda part, log, deadline: bool(deadlines.append(deadline)))
    run_all(every, tmp_path)
    assert [round(later - deadlines[0]) for later in deadlines[1:]] == [90, 220, 410, 470, 515]
