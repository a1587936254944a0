"""One process per machine checks the files; another uses its result if the check started after itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from datamodules.cache_building import open_or_pack
from datamodules.errors import DataError
from datamodules.sources import shared_look as module
from datamodules.sources.folder import ImageFolder
from datamodules.sources.shared_look import process_start, shared_look


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """From now on, this is a process that started at this time."""

    def begin(start: float) -> None:
        monkeypatch.setattr(module, "own_looks", set())
        monkeypatch.setattr(module, "process_start", lambda: start)

    return begin


Begin = Callable[[float], None]


def test_a_look_younger_than_the_process_is_taken(process: Begin) -> None:
    process(time.time() - 10)
    assert shared_look("photos", lambda: {"seen": 1}) == {"seen": 1}
    process(time.time() - 9)
    assert shared_look("photos", lambda: pytest.fail("looked")) == {"seen": 1}
    assert shared_look("others", lambda: {"seen": 2}) == {"seen": 2}


def test_a_look_older_than_the_process_is_not_taken(process: Begin) -> None:
    process(time.time() - 10)
    shared_look("photos", lambda: {"seen": 1})
    process(time.time() + 1)
    assert shared_look("photos", lambda: {"seen": 2}) == {"seen": 2}


def test_a_process_that_asks_again_looks_again(process: Begin) -> None:
    process(time.time() - 10)
    assert [shared_look("photos", lambda seen=seen: {"seen": seen})["seen"] for seen in (1, 2)] == [1, 2]


def test_what_a_look_raises_is_raised_and_the_next_process_looks_for_itself(process: Begin) -> None:
    def fail() -> dict[str, object]:
        raise DataError("no images")

    process(time.time() - 10)
    with pytest.raises(DataError, match="no images"):
        shared_look("photos", fail)
    process(time.time() - 10)
    assert shared_look("photos", lambda: {"seen": 1}) == {"seen": 1}


def test_a_folder_that_others_can_write_to_is_not_believed(process: Begin, tmp_path: Path) -> None:
    process(time.time() - 10)
    shared_look("photos", lambda: {"seen": 1})
    (tmp_path / "tmp" / f"laptop-to-cluster-{os.getuid()}").chmod(0o777)
    process(time.time() - 10)
    assert shared_look("photos", lambda: {"seen": 2}) == {"seen": 2}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not tell when a process began")
def test_the_start_of_a_process_is_known() -> None:
    before = time.time()
    program = "from datamodules.sources.shared_look import process_start; print(process_start())"
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert before - 0.1 <= float(found.stdout) <= time.time()
    assert process_start() < before


def test_what_changed_since_another_process_looked_is_not_packed_under_its_name(
    process: Begin, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_folder()
    process(time.time() - 10)
    ImageFolder(root).fingerprint()
    Image.new("RGB", (8, 8)).save(root / "train/cat/9.png")
    process(time.time() - 10)
    with pytest.raises(DataError, match=r"photos changed while the job started; start it again"):
        open_or_pack(ImageFolder(root), "photos", tmp_path / "cache", False, print, False)
