"""label: a row for every file, in order, and an exit code that tells of those that could not be read."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_artifact import CLASSES, stored_images

from lightning_app.__main__ import main
from lightning_app.results.examples import as_png
from serve.classifier import Classifier

REPOSITORY = Path(__file__).parents[2]
NAMES = ["b.png", "a/c.png", "a/a.PNG", "d.png"]
IN_A_FOLDER = ["a/a.PNG", "a/c.png", "b.png", "d.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, and a file that is none."""
    root = tmp_path / "photos"
    (root / "a").mkdir(parents=True)
    for name, stored in zip(NAMES, stored_images(4), strict=True):
        (root / name).write_bytes(as_png(stored))
    (root / "notes.txt").write_text("not a picture")
    return root


def label(artifact: Path, to: Path, *inputs: Path | str, code: int = 0) -> list[dict]:
    """Rows of the table."""
    options = ["--model", str(artifact), "--to", str(to), "--batch_size", "3", "--force"]
    assert run(["label", *map(str, inputs), *options]) == code
    if to.suffix == ".jsonl":
        return [json.loads(line) for line in to.read_text().splitlines()]
    return list(csv.DictReader(to.read_text().splitlines()))


def run(args: list[str]) -> int:
    """The exit code."""
    try:
        return main(args)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def expected(artifact: Path) -> dict[str, str]:
    """Labels by name."""
    predictions = Classifier(artifact).predictions(stored_images(4))
    return {name: prediction.label for name, prediction in zip(NAMES, predictions, strict=True)}


def test_a_folder_is_labelled_in_order_of_its_names(artifact: Path, folder: Path, tmp_path: Path) -> None:
    rows = label(artifact, tmp_path / "out.csv", folder)
    assert [row["path"] for row in rows] == [f"{folder}/{name}" for name in IN_A_FOLDER]
    assert [row["label"] for row in rows] == [expected(artifact)[name] for name in IN_A_FOLDER]
    assert list(rows[0]) == ["path", "label", "confidence", "uncertain", "error", *(f"p({name})" for name in CLASSES)]
    for row in rows:
        shares = [float(row[f"p({name})"]) for name in CLASSES]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert float(row["confidence"]) == max(shares)
        assert (row["uncertain"], row["error"]) == ("true", "")


def test_zip_tar_and_a_list_of_files_give_the_same_in_their_own_order(
    artifact: Path, folder: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive, tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in NAMES:
            archive.write(folder / name, name)
            tar.add(folder / name, name)
    files = [folder / name for name in NAMES]
    for inputs in ([tmp_path / "photos.zip"], [tmp_path / "photos.tar"], files):
        rows = label(artifact, tmp_path / "out.jsonl", *inputs)
        assert [row["path"].endswith(f"/{name}") for row, name in zip(rows, NAMES, strict=True)] == [True] * 4
        assert [row["label"] for row in rows] == list(expected(artifact).values())
        assert [list(row["probabilities"]) for row in rows] == [CLASSES] * 4


def test_unreadable_files_are_rows_with_an_error_and_the_exit_code_says_so(
    artifact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a/c.png").write_bytes(b"no picture")
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:40])
    for to in (tmp_path / "out.csv", tmp_path / "out.jsonl"):
        rows = label(artifact, to, folder, code=1)
        assert [bool(row["error"]) for row in rows] == [False, True, True, False]
        assert [row["label"] or None for row in rows] == [
            expected(artifact)["a/a.PNG"],
            None,
            None,
            expected(artifact)["d.png"],
        ]
        assert f"2 of 4 labelled in {to}; 2 unreadable" in capsys.readouterr().out


def test_damage_in_a_zip_costs_the_damaged_file_alone(artifact: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.write(folder / name, name)
    content = bytearray(path.read_bytes())
    content[content.index((folder / "a/c.png").read_bytes()) + 30] ^= 0xFF
    path.write_bytes(content)
    rows = label(artifact, tmp_path / "out.csv", path, code=1)
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]


def test_what_macos_adds_to_a_zip_is_no_picture(artifact: Path, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("2024.png/", "")
        archive.write(folder / "b.png", "2024.png/b.png")
        archive.writestr("__MACOSX/2024.png/._b.png", "not a picture")
        archive.writestr("2024.png/._b.png", "not a picture")
    rows = label(artifact, tmp_path / "out.csv", tmp_path / "photos.zip")
    assert [row["path"] for row in rows] == [f"{tmp_path}/photos.zip/2024.png/b.png"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_table_is_utf8_whatever_a_name_is(ending: str, artifact: Path, folder: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (folder / "b.png").rename(folder / name)
    to = tmp_path / f"out.{ending}"
    assert run(["label", str(folder / name), "--model", str(artifact), "--to", str(to)]) == 0
    assert (rb"caf\xe9.png" if ending == "csv" else rb"caf\\xe9.png") in to.read_bytes()
    assert to.read_text(encoding="utf-8")


def test_a_table_that_cannot_be_written_is_told_before_the_model_is_loaded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "missing/out.csv"
    assert run(["label", str(folder), "--model", str(tmp_path / "no model"), "--to", str(to)]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: --to {to} cannot be written (No such file or directory); choose another"
    )


def test_a_table_that_fails_half_way_leaves_the_one_of_before(
    artifact: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: Classifier, stored: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    to = tmp_path / "out.csv"
    to.write_text("of before")
    monkeypatch.setattr(Classifier, "predictions", full)
    assert run(["label", str(folder), "--model", str(artifact), "--to", str(to), "--force"]) == 2
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"out.csv"}
    assert to.read_text() == "of before"


@pytest.mark.parametrize("size", ["0", "-1"])
def test_a_batch_of_nothing_is_wrong_usage(
    size: str, artifact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "out.csv"
    assert run(["label", str(folder), "--model", str(artifact), "--to", str(to), "--batch_size", size]) == 2
    assert capsys.readouterr().err == f"error: --batch_size is {size}; expected 1 or more.\n"
    assert not to.exists()


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_nothing_to_label_is_wrong_usage(
    where: str, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(["label", str(tmp_path / where), "--model", str(artifact), "--to", str(tmp_path / "out.csv")]) == 2
    assert capsys.readouterr().err.startswith(("error: no images in", "error: there is no "))
    assert not (tmp_path / "out.csv").exists()


def test_another_ending_is_wrong_usage(
    artifact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["label", str(folder), "--model", str(artifact), "--to", str(tmp_path / "out.xlsx")]) == 2
    assert "has an unknown suffix; expected .csv or .jsonl" in capsys.readouterr().err


def test_a_table_that_is_there_is_not_overwritten(
    artifact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.csv").write_text("of before")
    assert run(["label", str(folder), "--model", str(artifact), "--to", str(tmp_path / "out.csv")]) == 2
    assert capsys.readouterr().err == f"error: --to {tmp_path}/out.csv already exists; --force overwrites it.\n"
    assert (tmp_path / "out.csv").read_text() == "of before"


def test_each_column_has_the_probability_of_its_class_whatever_the_rank(artifact: Path, folder: Path) -> None:
    [row] = label(artifact, folder / "out.csv", folder / "b.png")
    [expected] = Classifier(artifact).probabilities(stored_images(1)).tolist()
    assert sorted(expected, reverse=True) != expected  # else rank and class would be the same
    assert [float(row[f"p({name})"]) for name in CLASSES] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_done_when_told_to_stop_is_kept_and_gone_on_with(
    number: signal.Signals,
    ending: str,
    artifact: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [str(folder / name) for name in NAMES]
    whole, to = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    same = ["--model", str(artifact), "--batch_size", "1"]
    options = [*same, "--to", str(to)]
    assert run(["label", *files, *same, "--to", str(whole)]) == 0
    predict = Classifier.predictions

    def stopped_at_the_second(model: Classifier, stored: np.ndarray) -> list:
        if np.array_equal(stored[0], stored_images(4)[1]):
            signal.raise_signal(number)
        return predict(model, stored)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "predictions", stopped_at_the_second)
        assert run(["label", *files, *options]) == 128 + number
    assert f"stopped: 1 of 4 rows are in {to}.partial; --resume continues" in capsys.readouterr().out
    assert not to.exists()

    assert run(["label", *files, *options]) == 2  # neither lost nor taken for complete
    assert run(["label", *files[1:], *options, "--resume"]) == 2  # without the one that is done
    with open(f"{to}.partial", "ab") as partial:
        partial.write(b"cut sho")
    assert run(["label", *files, *options, "--resume"]) == 0
    assert to.read_bytes() == whole.read_bytes()
    assert not Path(f"{to}.partial").exists()


def test_a_list_of_paths_and_standard_input_are_inputs(
    artifact: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(folder / name) for name in NAMES]
    (tmp_path / "list.txt").write_text("\n".join(paths) + "\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\0".join(paths[:2]).encode())))
    rows = label(artifact, tmp_path / "out.csv", tmp_path / "list.txt", "-")
    assert [row["path"] for row in rows] == paths + paths[:2]


def test_pictures_of_other_kinds_are_rows_and_what_is_left_out_is_counted(
    artifact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    Image.effect_noise((50, 40), 60).save(folder / "web.jfif", "JPEG")
    (folder / "data.json").touch()
    (folder / "more.txt").touch()
    rows = label(artifact, tmp_path / "out.csv", folder, code=1)
    assert {Path(row["path"]).name: bool(row["error"]) for row in rows if Path(row["path"]).name[0] in "pw"} == {
        "phone.HEIC": True,
        "web.jfif": False,
    }
    assert capsys.readouterr().err.endswith("left out 3 files: 2 not images (.txt), 1 not images (.json)\n")


def test_a_name_that_a_spreadsheet_would_run_is_text(
    artifact: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "b.png").rename(folder / "=1+cmd.png")
    monkeypatch.chdir(folder)
    [row] = label(artifact, folder / "out.csv", "=1+cmd.png")
    assert row["path"] == "'=1+cmd.png"


def test_a_pipe_is_no_input(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    options = ["--model", str(artifact), "--to", str(tmp_path / "out.csv")]
    assert run(["label", str(tmp_path / "pipe.png"), *options]) == 2
    assert f"{tmp_path}/pipe.png is not a regular file" in capsys.readouterr().err


def test_a_wrong_path_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from lightning_app.__main__ import main\n"
        "code = main(['label', 'nowhere', '--model', 'nowhere'])\n"
        "sys.exit(code if 'torch' not in sys.modules else 'torch was imported')\n"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (process.returncode, process.stderr.count("\n")) == (2, 1), process.stderr
