"""The plugin by itself: in Lightning's own Trainer, and by class_path in a config."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from time_limits import limit

PROGRAM = Path(__file__).with_name("plugin_program.py")
CONFIG = """\
trainer:
  plugins:
    class_path: lightning_app.environment.LauncherEnvironment
    init_args:
      interface: {interface}
      timeout: {timeout}
"""
FIT = ["fit", "--config", "configs/quickstart.yaml", "--name", "plugin"]
QUICK = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "trainer.limit_test_batches": 1,
    "trainer.limit_val_batches": 1,
    "data.image_size": 32,
}

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


def test_every_row_is_seen_once_with_lightning_s_own_trainer_and_no_mpi4py(openmpi5: list[str], tmp_path: Path) -> None:
    output = tmp_path / "seen.json"
    command = [*openmpi5, "-np", "2", sys.executable, PROGRAM, output, "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit(240))
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(output.read_text()) == {"seen": list(range(32)), "world_size": 2}


def test_devices_that_contradict_mpirun_end_lightning_s_own_trainer(openmpi5: list[str], tmp_path: Path) -> None:
    command = [*openmpi5, "-np", "2", sys.executable, PROGRAM, tmp_path / "seen.json", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit(240))
    assert done.returncode != 0
    assert "num_nodes times devices is 1, but openmpi started 2 ranks on 1 node" in done.stderr


@pytest.mark.parametrize(
    ("interface", "code", "said"),
    [
        pytest.param("lo", 0, "ddp (openmpi started 2 ranks)", id="one that is there"),
        pytest.param("ib7", 2, "interface ib7 is not on", id="none"),
    ],
)
def test_the_plugin_can_be_set_by_class_path_in_a_config(
    interface: str, code: int, said: str, openmpi5: list[str], tmp_path: Path
) -> None:
    config = tmp_path / "plugin.yaml"
    config.write_text(CONFIG.format(interface=interface, timeout=limit(120)))
    quick = [f"--{name}={value}" for name, value in QUICK.items()]
    folders = [f"--runs_dir={tmp_path / 'runs'}", f"--data.cache_dir={tmp_path / 'packed'}"]
    command = [*openmpi5, "-np", "2", sys.executable, "-m", "lightning_app", *FIT, "--config", config, *quick, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit(240))
    assert done.returncode == code, done.stderr[-4000:]
    assert said in done.stderr
    assert (tmp_path / "runs/plugin/version_0/metrics.csv").exists() == (code == 0)
