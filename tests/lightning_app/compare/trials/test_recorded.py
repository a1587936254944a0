"""results.json continues, and adds another machine's runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from invented_comparison import content, everything, rank, run

from lightning_app.compare.report.comparison import Comparison
from lightning_app.compare.report.contents import tables
from lightning_app.compare.trials.recorded import FILE, SCHEMA, Results, read, refuse_other_machines
from lightning_app.errors import UsageError

SETTINGS = everything()["settings"]
KEY = ("steps", "cpu:1", 0)


def facts(recipe: str = "0123456789abcdef", host: str = "here") -> dict[str, Any]:
    """What compare learns before it begins."""
    known = {name: everything()[name] for name in ("options", "batch_size", "image_size")}
    return known | {"recipe": recipe, "machine": everything()["machines"]["here"] | {"host": host}}


def begin(folder: Path, **changes: Any) -> Results:
    return Results.begin(folder / FILE, facts(**changes), SETTINGS, ["compare"])


def test_what_was_measured_is_there_when_it_is_begun_again(tmp_path: Path) -> None:
    begin(tmp_path).add(run("steps", "cpu:1", 0, [rank(1.0)]))
    assert begin(tmp_path).has("here", KEY)
    assert not begin(tmp_path).has("here", ("steps", "cpu:1", 1))
    assert not begin(tmp_path).has("there", KEY)


def test_a_run_that_failed_is_made_again_and_replaced(tmp_path: Path) -> None:
    results = begin(tmp_path)
    results.add(run("steps", "cpu:1", 0, [], failed="exit code 1"))
    assert not results.has("here", KEY)
    results.add(run("steps", "ddp:2", 0, [rank(1.0)]))
    results.add(run("steps", "cpu:1", 0, [rank(1.0)]))
    found = [(each["mode"], each["failed"]) for each in read(tmp_path / FILE)["runs"]]
    assert found == [("cpu:1", None), ("ddp:2", None)]


def test_no_failed_attempt_is_forgotten_when_a_run_is_made_again(tmp_path: Path) -> None:
    results = begin(tmp_path)
    for failed in ("exit code 1", "exit code 9", None):
        results.add(run("steps", "cpu:1", 0, [rank(1.0)], failed=failed))
    (kept,) = read(tmp_path / FILE)["runs"]
    assert [failure["failed"] for failure in kept["earlier_failures"]] == ["exit code 1", "exit code 9"]


CHANGES = [{"host_cores": 96}, {"gpus": ["H100"]}, {"versions": {"cpu": "A processor", "torch": "2.15.0"}}]


@pytest.mark.parametrize("change", [*CHANGES, {"versions": {"cpu": "Another", "torch": "2.14.1"}}])
def test_machines_of_one_name_that_differ_are_one_neither_by_merging_nor_by_going_on(
    change: dict[str, Any], tmp_path: Path
) -> None:
    other = everything()
    other["machines"]["here"] |= change
    for name in (FILE, "other.json"):
        (tmp_path / name).write_text(json.dumps(other))
    with pytest.raises(UsageError, match="a machine called here that is not this one"):
        begin(tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(UsageError, match=f"{next(iter(change))}|cpu|torch"):
        begin(tmp_path).merge(tmp_path / "other.json")


def test_a_machine_that_has_changed_is_described_by_both_values(tmp_path: Path) -> None:
    theirs, ours = {"here": everything()["machines"]["here"]}, {"here": everything()["machines"]["here"]}
    theirs["here"] |= {"host_cores": 96, "gpus": ["H100"]}
    cores, gpus = ours["here"]["host_cores"], ours["here"]["gpus"]
    with pytest.raises(UsageError) as error:
        refuse_other_machines(tmp_path, theirs, ours)
    assert f"(gpus is ['H100'] there, {gpus} here; host_cores is 96 there, {cores} here)" in str(error.value)
    refuse_other_machines(tmp_path, {"elsewhere": theirs["here"]}, ours)


def test_another_recipe_or_measure_is_refused(tmp_path: Path) -> None:
    begin(tmp_path).save()
    with pytest.raises(UsageError, match="another comparison"):
        begin(tmp_path, recipe="another")
    with pytest.raises(UsageError, match="rounds is 3 there, 5 here"):
        Results.begin(tmp_path / FILE, facts(), SETTINGS | {"rounds": 5}, [])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}'])
def test_what_is_no_result_of_this_version_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UsageError, match=r"results\.json"):
        begin(tmp_path)


def test_another_machine_s_runs_are_merged_once_and_marked_with_it(tmp_path: Path) -> None:
    there = content([run("steps", "gpu", 0, [rank(0.1, device="H100")], machine="there")], unavailable=[])
    there["machines"] = {"there": everything()["machines"]["here"] | {"host": "there"}}
    (tmp_path / "other.json").write_text(json.dumps(there))
    results = begin(tmp_path)
    results.content |= {"unavailable": everything()["unavailable"]}
    results.add(run("steps", "cpu:1", 0, [rank(1.0)]))
    results.merge(tmp_path / "other.json")
    results.merge(tmp_path / "other.json")
    (speed,) = [table for table in tables(Comparison.of(read(tmp_path / FILE))) if table.title == "Speed"]
    assert [row[0] for row in speed.body] == ["cpu:1 @ here", "gpu @ here", "gpu @ there"]
    assert speed.body[1][1] == "not run: found no GPU"
    assert speed.body[2][speed.head.index("speed-up")] == "1.00"  # over the baseline of its own machine


def test_another_recipe_is_not_merged(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(everything() | {"recipe": "another"}))
    with pytest.raises(UsageError, match="cannot be compared"):
        begin(tmp_path).merge(tmp_path / "other.json")


def test_the_schema_is_stated(tmp_path: Path) -> None:
    begin(tmp_path).save()
    assert json.loads((tmp_path / FILE).read_text())["schema"] == SCHEMA == 2
