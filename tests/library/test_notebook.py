"""Fits in a Jupyter kernel, serial and ddp, twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FIT = """\
from lightning_app import fit
small = {{
    "trainer.max_epochs": 1, "trainer.limit_train_batches": 1, "trainer.limit_val_batches": 1,
    "trainer.limit_test_batches": 1, "trainer.precision": "32-true", "model.backbone": "shufflenet_v2_x0_5",
    "model.dropout": None, "data.image_size": 32, "data.cache_dir": "cache", "name": "{name}",
}}
run = fit("configs/quickstart.yaml", small | {options})
"""
DDP = {"trainer.strategy": "ddp", "trainer.devices": 2}


@pytest.mark.slow
def test_a_notebook_fits_serially_and_with_ddp_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="no nbclient: pip install nbclient ipykernel")
    nbformat = pytest.importorskip("nbformat", reason="no nbformat: pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="no ipykernel: pip install nbclient ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    runs = [("serial", {"trainer.strategy": "cpu"}), ("ddp", DDP), ("ddp", DDP)]
    cells = [nbformat.v4.new_code_cell(FIT.format(name=name, options=options)) for name, options in runs]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("print(run.metrics['test/acc'])")])
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
    assert [text.count("held-out images") for text in shown] == [1, 1, 1, 0]
    assert 0 <= float(shown[3]) <= 1
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "runs").glob("*/*/model")) == [
        "runs/ddp/version_0/model",
        "runs/ddp/version_1/model",
        "runs/serial/version_0/model",
    ]
