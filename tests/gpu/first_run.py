"""Everything that a first run on a GPU should show, in one command and at most nine minutes: `make gpu`.

    python tests/gpu/first_run.py --to gpu-run --data cifar10.tar.xz --weights mobilenet_v2_imagenet.safetensors

Runs, in this order: doctor, the tests marked `gpu`, bench, a whole run of configs/cifar10_gpu.yaml, a run that SIGTERM
stops and that resumes, and a profile of ten steps. Each part is a separate process with a time limit, plus the time
that earlier parts did not use. Its log grows as it runs, and its result is in the folder as soon as it ends, so that
being cut off loses only the rest. It needs no network and no installation: it runs from the checkout with whatever
Python starts it.

`--dry_run` does all of it on a CPU with tiny sizes, on scikit-learn's digits.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "lightning_app"]
STOPPED = 75  # exit code of a run that was stopped and can resume
DRY_RUN_PATIENCE = 10  # on a CPU that may be busy
KILL_AFTER_S = 10.0  # between SIGTERM and SIGKILL for a part that is over its limit


@dataclass
class Part:
    """One step of the run.

    Attributes:
        name: of the part and its log.
        seconds: its share of the time.
        commands: run one after the other; the first that fails ends the part.
        stop_at: SIGTERM is sent to the first command when its output contains this.
        environ: added to the environment.
        over: the signal that ends it when its time is over; pytest reports its results at SIGINT.
        codes: exit codes of the commands so far.
    """

    name: str
    seconds: float
    commands: Sequence[Sequence[str]]
    stop_at: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    over: signal.Signals = signal.SIGTERM
    codes: list[int] = field(default_factory=list)


def main() -> int:
    """Run all parts; returns 1 if one failed."""
    options = parse()
    options.to.mkdir(parents=True, exist_ok=True)
    results = run_all(parts(options), options.to)
    lines = [f"{each['part']:<10} {'ok' if each['ok'] else 'FAILED'} {each['seconds']:6} s" for each in results]
    print("\n" + "\n".join(lines))
    return 0 if all(each["ok"] for each in results) else 1


def run_all(every: list[Part], folder: Path) -> list[dict[str, Any]]:
    """Run parts in sequence; after each, summary.json has the results so far."""
    results: list[dict[str, Any]] = []
    began = time.monotonic()
    for number, part in enumerate(every):
        started = time.monotonic()
        deadline = began + sum(each.seconds for each in every[: number + 1])
        print(f"\n=== {part.name} (at most {deadline - started:.0f} s)", flush=True)
        ok = run(part, folder / f"{part.name}.log", deadline)
        seconds = round(time.monotonic() - started, 1)
        results.append({"part": part.name, "ok": ok, "seconds": seconds, "codes": part.codes})
        (folder / "summary.json").write_text(json.dumps(results, indent=1))
        print(f"=== {part.name}: {'ok' if ok else 'FAILED'} after {seconds} s", flush=True)
    return results


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--to", type=Path, default=Path("gpu-run"), help="folder for logs and results (default: gpu-run)"
    )
    parser.add_argument("--data", help="CIFAR-10 as a folder or archive; default: download it")
    parser.add_argument("--weights", help="ImageNet weights; default: download them")
    parser.add_argument("--parts", nargs="+", help="only these parts (default: all)")
    parser.add_argument("--dry_run", action="store_true", help="tiny sizes on a CPU")
    return parser.parse_args()


def parts(options: argparse.Namespace) -> list[Part]:
    """What to run, in order. The seconds add up to nine minutes."""
    fit = [*PROGRAM, "fit", *recipe(options), "--runs_dir", str(options.to / "runs")]
    resumed = [*fit, "--name", "stopped", *short(options)]
    shape = ["--batch_size", "4", "--image_size", "32"] if options.dry_run else ["--batch_size", "256"]
    profile = [sys.executable, "-m", "lightning_app.bench.step_profile", *shape]
    tests = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu"]
    every = [
        Part("doctor", 25, [[*PROGRAM, "doctor"]]),
        Part("tests", 90, [tests], over=signal.SIGINT),
        Part("bench", 130, bench(options, shape)),
        Part("recipe", 190, [fit]),
        Part("resume", 60, [resumed, resumed], stop_at="validation after epoch 1 "),
        Part("profile", 45, [[*profile, "--to", str(options.to / "profile.txt")]]),
    ]
    for part in every:
        if options.dry_run:
            part.seconds *= DRY_RUN_PATIENCE
            # torch.compile changes nothing then; it is tested elsewhere, and takes long.
            part.environ = {"LAPTOP_TO_CLUSTER_GPU_DRY_RUN": "1", "TORCHDYNAMO_DISABLE": "1"}
    return [part for part in every if not options.parts or part.name in options.parts]


def bench(options: argparse.Namespace, shape: list[str]) -> list[list[str]]:
    """What has to be compiled runs separately, and last: it must not cost the other results."""
    limit = [] if options.dry_run else ["--minutes", "2"]
    measured = {"bench": ["original", "program", *limit], "compiled": ["compiled"]}
    quick = ["--steps", "1", "--original_steps", "1", "--compile_mode", "eager"] if options.dry_run else []
    return [
        [
            *PROGRAM,
            "bench",
            "--parts",
            *names,
            "--rounds",
            "1",
            *shape,
            *quick,
            "--json",
            str(options.to / f"{file}.json"),
        ]
        for file, names in measured.items()
    ]


def recipe(options: argparse.Namespace) -> list[str]:
    """The options of the whole run."""
    if options.dry_run:
        quick = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4", "--data.image_size", "32"]
        cache = ["--data.cache_dir", str(options.to / "packed")]
        quick += [
            "--model.backbone",
            "shufflenet_v2_x0_5",
            "--model.dropout",
            "null",
            "--trainer.limit_test_batches",
            "1",
        ]
        return ["--config", "configs/quickstart.yaml", "--trainer.strategy", "cpu", *quick, *cache]
    given = {"--data.root": options.data, "--model.weights": options.weights}
    places = [word for option, value in given.items() if value for word in (option, value)]
    return ["--config", "configs/cifar10_gpu.yaml", "--trainer.strategy", "gpu", *places]


def short(options: argparse.Namespace) -> list[str]:
    """A run that takes long enough to be stopped."""
    if options.dry_run:
        return ["--trainer.max_epochs", "5"]
    return ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "60", "--data.image_size", "96"]


def run(part: Part, log: Path, deadline: float) -> bool:
    """Run a part until a time of the monotonic clock; its output goes to the terminal and the log."""
    with open(log, "w", buffering=1) as file:
        for index, command in enumerate(part.commands):
            stop_at = part.stop_at if index == 0 else ""
            code = tee(command, part, file.write, deadline, stop_at)
            part.codes.append(code)
            if code != (STOPPED if stop_at else 0) and not (code == 5 and part.name == "tests"):  # 5: none was selected
                return False
    return True


def tee(command: Sequence[str], part: Part, write: Callable[[str], object], deadline: float, stop_at: str) -> int:
    """Run one command of a part; returns its exit code."""
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"} | part.environ
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # What a shell starts in the background ignores it, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    seconds = max(deadline - time.monotonic(), 1)
    timers = [
        threading.Timer(seconds, process.send_signal, [part.over]),
        threading.Timer(seconds + KILL_AFTER_S, process.kill),
    ]
    for timer in timers:
        timer.start()
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        write(line)
        if stop_at and stop_at in line:
            process.send_signal(signal.SIGTERM)
            stop_at = ""
    code = process.wait()
    for timer in timers:
        timer.cancel()
    return code


if __name__ == "__main__":
    sys.exit(main())
