"""A user's script: ranks that a plain Trainer spawns. Usage: plain_ranks.py CACHE_DIR"""

from __future__ import annotations

import sys

import lightning.pytorch as pl
import torch

from datamodules.datamodule import ImageData
from models.classifier import ImageClassifier

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}

if __name__ == "__main__":
    data = ImageData("digits", batch_size=64, image_size=32, cache_dir=sys.argv[1])
    model = ImageClassifier(data.num_classes, backbone="shufflenet_v2_x0_5", weights="none")
    before = model.head.weight.detach().clone()
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_spawn", max_epochs=1, limit_train_batches=2, **QUIET
    )
    trainer.fit(model, datamodule=data)
    [tested] = trainer.test(model, datamodule=data, verbose=False)
    print("trained:", not torch.equal(model.head.weight, before), "right:", tested["test/acc"] * 360)
