"""What a comparison has to know before it starts; also prepares data and weights, so that no run is charged for it.

    python -m lightning_app.compare.trials.environment_facts FILE [the options of fit]

A separate process, started like the serial runs: under SLURM, it examines the node that computes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import socket
import sys
from pathlib import Path, PurePath
from typing import Any

from lightning_app.checkpointing.identity import RunIdentity, what_counts
from lightning_app.cli.cli import fit_options
from lightning_app.cli.prepare import prepare
from lightning_app.errors import UserError
from lightning_app.failure import handler
from lightning_app.files import replace_file
from lightning_app.provenance import git_revision, versions, visible_gpus
from lightning_app.trainer.machine import this_machine

# In addition to what RunsFolder leaves out: where data is, which differs between machines, and what compare sets
# itself.
NOT_RECIPE = ("data.root", "model.weights", "seed_everything", "trainer.callbacks")


def main(args: list[str]) -> None:
    """Prepare, and write the facts into a file."""
    file, options = Path(args[0]), args[1:]
    prepare(options)
    replace_file(file, json.dumps(facts(options), indent=1).encode())


def facts(options: list[str]) -> dict[str, Any]:
    """About the recipe and the machine."""
    config = fit_options(options).as_dict()
    data, weights = config["data"], str(config["model"]["weights"])
    recipe = {name: value for name, value in what_counts(config).items() if name not in NOT_RECIPE}
    recipe = json.loads(json.dumps(recipe | {"weights": PurePath(weights).name}, default=str))
    sizes = data["image_size"]
    return {
        "recipe": RunIdentity.of(recipe).digest,
        "options": recipe,
        "batch_size": data["batch_size"],
        "image_size": sizes[0] if isinstance(sizes, list) else sizes,
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """Provenance of everything measured here."""
    found = this_machine()
    return {
        **dataclasses.asdict(found),
        "host": socket.gethostname(),
        "gpus": [gpu.name for gpu in visible_gpus()],
        "host_cores": os.cpu_count(),
        "system": platform.system(),
        "versions": {name: value for name, value in versions().items() if value not in ("none", "not installed")},
        "git": git_revision(),
    }


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(handler.USAGE_ERROR)
