"""python -m lightning_app <verb>: finds the verb without importing torch, so that --help is fast."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
import time

from lightning_app import __version__
from lightning_app.cli.config_files import resolve_configs
from lightning_app.cli.console import configure_logging
from lightning_app.errors import Finished, Stopped, UsageError, UserError
from lightning_app.failure.handler import JOB, USAGE_ERROR
from lightning_app.failure.shutdown import print_error
from lightning_app.imports import quick_imports
from lightning_app.launchers.detection import this_launch
from lightning_app.launchers.launch import Launch
from lightning_app.library.own_process import NeedsOwnProcess, report_folder, run_program, watch_caller
from lightning_app.trainer.malloc import keep_freed_memory

VERBS = {
    "fit": "train, validate, and test once at the end",
    "validate": "evaluate a checkpoint on the validation split",
    "test": "evaluate a checkpoint on the test split",
    "predict": "predict class probabilities for the test split",
    "prepare": "download and pack data and weights, so that compute nodes need no network",
    "doctor": "show what each rank detects, test an all-reduce, and list problems; under any launcher",
    "label": "label a folder, an archive or a list of files with a trained model",
    "export": "export a trained model for other runtimes: safetensors, ONNX, a model card",
    "compare": "run a recipe in several modes side by side: speed-up, efficiency, time, accuracy",
    "bench": "measure step, data path, loop, ranks and serving, each against a baseline",
}
HELP = f"""\
Fine-tune an image classifier serially on a CPU, on one GPU, or with DDP, by one flag.

usage: python -m lightning_app <verb> [options]

{chr(10).join(f"  {verb:<10}{what}" for verb, what in VERBS.items())}

  python -m lightning_app fit --config configs/quickstart.yaml
  python -m lightning_app fit --config configs/cifar10.yaml --trainer.strategy gpu

<verb> --help shows a verb's options. --debug before or after it shows where an error came from.
"""
# Verbs with their own small parsers: a function that takes the remaining options. The others use LightningCLI.
OWN_PARSERS = {
    "label": "serve.label:label",
    "export": "serve.export:export",
    "bench": "lightning_app.bench:bench",
    "compare": "lightning_app.compare.command:compare",
    "prepare": "lightning_app.cli.prepare:prepare",
    "doctor": "lightning_app.doctor.command:doctor",
}


def main(args: list[str]) -> int:
    """Run one verb; returns the exit code."""
    started = time.time()
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return 0 if args else USAGE_ERROR
    if args[0] == "--version":
        print(__version__)
        return 0
    watch_caller()
    try:
        run(args, started, debug)
    except NeedsOwnProcess:
        return run_program(args).code
    except Exception as error:
        if not JOB.alone() and not isinstance(error, Stopped):
            JOB.fail(error)
        if debug or not isinstance(error, UserError):
            raise
        print_error(str(error))
        return USAGE_ERROR
    finally:
        JOB.end_in_order()
    return 0


def run(args: list[str], started: float, debug: bool) -> None:
    """Run a verb. Everything slow is imported here, after the memory policy is set."""
    verb, options = args[0], args[1:]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        raise UsageError(
            f"unknown verb {verb}: " + (f"did you mean {near[0]}?" if near else f"expected {', '.join(VERBS)}.")
        )
    memory = keep_freed_memory()
    if verb in OWN_PARSERS:
        module, function = OWN_PARSERS[verb].split(":")
        getattr(importlib.import_module(module), function)(options)
        return
    launch = this_launch()
    if launch.launcher == "lightning":
        JOB.watch_parent()
    tell_lightning(launch)
    with quick_imports():
        configure_logging(launch.global_rank, debug)  # imports Lightning
        from lightning_app.checkpointing.preemption import Preempted, exit_code
        from lightning_app.cli.cli import CLI
    logging.getLogger("lightning_app").info(memory)
    try:
        cli = CLI([verb, *resolve_configs(options)], started)
        if verb == "fit" and launch.launcher != "lightning":
            report_folder(cli.folder)
    except Preempted:
        sys.exit(exit_code(launch))
    except Finished:
        return


def tell_lightning(launch: Launch) -> None:
    """Correct what Lightning reads at import.

    Lightning takes RANK and LOCAL_RANK for the rank from its first line on; without them, every rank under mpirun would
    think it is rank 0. A single process has no rank, whatever it inherited or a launcher gave a lone rank: it may start
    other ranks here.
    """
    if launch.external:
        os.environ.update(RANK=str(launch.global_rank), LOCAL_RANK=str(launch.local_rank))
    elif launch.launcher != "lightning":
        # An address that a launcher gave its only rank may be in use, as the port of torchrun's agent is.
        address = () if launch.launcher == "none" else ("MASTER_ADDR", "MASTER_PORT")
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", *address):
            os.environ.pop(name, None)


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
