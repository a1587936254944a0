"""Users' scripts: fits in threads and with ddp, and a plain Trainer that spawns its ranks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TEST_IMAGES = 360


def python(script: str, folder: Path) -> str:
    """What a script prints that works in a folder, and packs below it."""
    command = [sys.executable, str(Path(__file__).with_name(script)), str(folder / "cache")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
def test_a_plain_trainer_spawns_ranks_that_share_the_images(tmp_path: Path) -> None:
    found = re.search(r"^trained: (\w+) right: (\S+)$", python("plain_ranks.py", tmp_path), re.MULTILINE)
    assert found is not None
    assert found[1] == "True"
    assert float(found[2]) == pytest.approx(round(float(found[2])), abs=1e-3)  # of all test images, each counted once


@pytest.mark.slow
def test_a_script_fits_in_threads_and_with_ddp_and_runs_once(tmp_path: Path) -> None:
    said = python("script.py", tmp_path)
    assert (said.count("script starts"), said.count("script ends")) == (1, 1)
    assert "wrong: data.val_fraction is 1.5; expected" in said
    assert "main: 0" in said
    assert len(re.findall(rf"of {TEST_IMAGES} held-out images", said)) == 1  # that of main(); the others show nothing
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["ddp", "serial"]
    for name, ranks in (("serial", 1), ("ddp", 2)):
        [run] = (tmp_path / "runs" / name).iterdir()
        card = json.loads((run / "model/model.json").read_text())
        assert card["provenance"]["world_size"] == ranks
        assert sum(map(sum, card["confusion"]["test"])) == TEST_IMAGES
    found = re.search(r"^serial: (\S+) (\S+)$", said, re.MULTILINE)
    assert found is not None
    assert found[2] == f"{tmp_path}/runs/serial/version_0/model"
