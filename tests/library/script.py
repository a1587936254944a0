"""A user's script: fits in threads, and a ddp fit through the program's main(). Usage: script.py CACHE_DIR"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lightning_app import Run, fit
from lightning_app.__main__ import main
from lightning_app.errors import UserError

SMALL = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "trainer.log_every_n_steps": 1,
    "trainer.precision": "32-true",
    "model.backbone": "shufflenet_v2_x0_5",
    "model.dropout": None,
    "data.image_size": 32,
    "data.cache_dir": sys.argv[1],
    "runs_dir": "runs",
}
DDP = {"trainer.strategy": "ddp", "trainer.devices": 2}


def attempt(name: str, **options: Any) -> Run | UserError:
    """A fit, or why there is none."""
    dotted = {option.replace("__", "."): value for option, value in options.items()}
    try:
        return fit("configs/quickstart.yaml", SMALL | {"name": name} | dotted, show=False)
    except UserError as error:
        return error


if __name__ == "__main__":
    print("script starts")
    with ThreadPoolExecutor(2) as threads:
        serial = threads.submit(attempt, "serial", trainer__strategy="cpu")
        wrong = threads.submit(attempt, "wrong", data__val_fraction=1.5)
        print("wrong:", wrong.result())
        run = serial.result()
        print("serial:", run.metrics["test/acc"], run.artifact)
    typed = SMALL | DDP | {"name": "ddp", "model.dropout": "null"}
    command = [f"--{name}={value}" for name, value in typed.items()]
    print("main:", main(["fit", "--config", "configs/quickstart.yaml", *command]))
    print("script ends")
