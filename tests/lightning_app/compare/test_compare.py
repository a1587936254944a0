"""The command itself: real runs of modes, interrupted and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented_comparison import everything

from lightning_app.compare.analysis.whole_runs import wall_time_parts
from lightning_app.compare.command import compare, config_name
from lightning_app.errors import UsageError

REPOSITORY = Path(__file__).parents[3]
COMMAND = "lightning_app.compare.command"
COUNTED = 30
DEADLINE_S = 240
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--modes", "cpu", "tpu"], "there is no mode tpu; expected cpu"),
        (["--modes", "cpu", "--steps", "29"], "--steps is 29; expected 30 or more, or 0"),
        (["--modes", "cpu", "--rounds", "0"], "--rounds has to be 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    args: list[str], said: str, empty_folder: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        compare([*args, "--config", "configs/quickstart.yaml"])


def test_another_recipe_to_merge_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: everything()[name] for name in ("recipe", "options", "batch_size", "image_size")}
    monkeypatch.setattr(f"{COMMAND}.read_facts", lambda *args: known | {"machine": everything()["machines"]["here"]})
    monkeypatch.setattr(f"{COMMAND}.run_missing", lambda *args: pytest.fail("too late"))
    (tmp_path / "other.json").write_text(json.dumps(everything() | {"recipe": "another"}))
    with pytest.raises(UsageError, match=r"other\.json cannot be compared with this"):
        compare(["--modes", "cpu", "--to", str(tmp_path), "--merge", str(tmp_path / "other.json")])


def test_options_that_fit_would_refuse_are_refused_at_once(program: Program, tmp_path: Path) -> None:
    done = program("compare", "--modes", "cpu", "--config", "configs/quickstart.yaml", "--modle.lr", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no option modle.lr" in done.stderr
    assert not (tmp_path / "runs/comparisons/quickstart/results.json").exists()


@pytest.mark.parametrize("fit", [["--config", "configs/a.yaml", "--config", "b.yaml"], ["--config=configs/a.yaml"]])
def test_a_comparison_is_called_after_its_first_config(fit: list[str]) -> None:
    assert config_name(fit) == "a"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_comparison_that_is_broken_off_is_continued_and_ends_with_all_modes(
    program: Program, short: list[str], tmp_path: Path
) -> None:
    modes = ["--modes", "cpu:1", "ddp:2", "gpu", "--steps", str(COUNTED), "--rounds", "1"]
    nothing_logged = ["--trainer.log_every_n_steps", "1000"]
    command = ["compare", *short, *nothing_logged, *modes, "--to", str(tmp_path)]
    begun = broken_off(command, tmp_path)
    assert leftovers(tmp_path) == []

    done = program(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["runs"][0] == begun["runs"][0]
    assert [row["mode"] for row in content["unavailable"]] == ["gpu"]
    assert [(run["part"], run["mode"], run["failed"]) for run in content["runs"]] == [
        ("steps", "cpu:1", None),
        ("steps", "ddp:2", None),
        ("steps", "serial:2", None),
        ("all_reduce", "ddp:2", None),
    ]
    alone, ddp, serial, _ = (run["ranks"] for run in content["runs"])
    for ranks, processes in ((alone, 1), (ddp, 2), (serial, 2)):
        assert [len(rank["steps"]) for rank in ranks] == [COUNTED] * processes
        assert {(rank["threads"], rank["batch_size"]) for rank in ranks} == {(1, 32)}
    assert [len(times) for times in ddp[0]["communication"].values()] == [4, 4]
    for name in ("report.md", "report.html"):
        assert "serial:2" in (tmp_path / name).read_text()


@pytest.mark.slow
def test_a_whole_run_leaves_its_accuracy_and_where_its_time_went(
    program: Program, short: list[str], tmp_path: Path
) -> None:
    done = program("compare", *short, "--modes", "cpu:1", "--steps", "0", "--seeds", "1", "--to", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads((tmp_path / "results.json").read_text())["runs"]
    (rank,) = run["ranks"]
    assert rank["total"] == 250  # limit_test_batches 1
    assert [point["step"] for point in rank["validations"]] == [6, 12, 18]
    assert len(rank["steps"]) == 13  # of 18: not the first of each epoch, nor two more to warm up
    parts = wall_time_parts(run)
    assert min(parts.values()) > 0
    assert sum(parts.values()) == pytest.approx(run["seconds"])


def broken_off(command: list[str], folder: Path) -> dict[str, Any]:
    """Start, and ask it to stop when its first run is saved; returns what it has by then."""
    results = folder / "results.json"
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-m", "lightning_app", *command], env=environ, cwd=folder) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not (found := json.loads(results.read_text()) if results.exists() else {"runs": []})["runs"]:
            if process.poll() is not None or time.monotonic() > deadline:
                break  # what follows fails, after the processes have been ended
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        process.send_signal(signal.SIGHUP)  # a second request does not keep it from ending what it has started
        assert process.wait(60) == 128 + signal.SIGTERM
        assert found["runs"]
    return found


def leftovers(folder: Path) -> list[str]:
    """Processes that name the folder of a comparison in their command."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(str(folder) in word for word in words) and int(place.parent.name) != os.getpid():
            found.append(" ".join(words))
    return found
