"""A script of somebody's own runs fits in threads and with ddp, and runs once itself."""

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


@pytest.mark.slow
def test_a_script_fits_in_threads_and_with_ddp_and_runs_once(tmp_path: Path) -> None:
    script = [sys.executable, str(Path(__file__).with_name("script.py")), str(tmp_path / "cache")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    said = process.stdout
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
