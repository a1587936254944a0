"""--distribution=arbitrary puts the ranks where the user's file says: rank 0 is not on the first node of the step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from time_limits import limit

from slurm import Slurm

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

REPOSITORY = Path(__file__).parents[2]
FIT_THAT_SAYS_WHERE = """\
import os, sys
from lightning_app.rendezvous.addresses import slurm_nodes
print("placed", os.environ["SLURM_PROCID"], os.environ["SLURMD_NODENAME"], slurm_nodes(os.environ), flush=True)
from lightning_app.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
OPTIONS = {
    "--config": "configs/quickstart.yaml",
    "--trainer.max_epochs": "1",
    "--trainer.limit_train_batches": "2",
    "--trainer.limit_test_batches": "1",
    "--model.backbone": "shufflenet_v2_x0_5",
    "--model.dropout": "null",
    "--data.image_size": "32",
}


def test_a_fit_finds_rank_0_on_the_node_where_the_user_s_file_begins(slurm: Slurm, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("n2\nn1\n")
    options = [word for option in OPTIONS.items() for word in option]
    where = ["--runs_dir", str(tmp_path / "runs"), "--data.cache_dir", str(tmp_path / "packed")]
    done = subprocess.run(
        ["srun", "--nodes=2", "--ntasks=2", "--distribution=arbitrary", "--kill-on-bad-exit=1",
         sys.executable, "-c", FIT_THAT_SAYS_WHERE, "fit", *options, *where],
        env=slurm.environ | {"SLURM_HOSTFILE": str(tmp_path / "hosts")},
        cwd=REPOSITORY, capture_output=True, text=True, timeout=limit(240),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    placed = sorted(line for line in done.stdout.splitlines() if line.startswith("placed"))
    assert placed == ["placed 0 n2 n2", "placed 1 n1 n2"]
    assert "ddp (slurm started 2 ranks)" in done.stderr
    assert (tmp_path / "runs/quickstart/version_0/model/weights.safetensors").is_file()
