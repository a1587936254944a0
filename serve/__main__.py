"""python -m serve: find the artifact, then start the page."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from lightning_app.errors import UsageError, UserError
from serve.app.sockets import listen

log = logging.getLogger("serve")
MAX_THREADS = 4  # unless asked for: a login node has many cores, and many users
PASSWORD = "SERVE_PASSWORD"
ROOT_PATH = re.compile(r"(/[\w.~-]+)+", re.ASCII)
RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "threads": (1, 1024),
    "max_megabytes": (0.001, 1000),
    "max_megapixels": (0.001, 170),  # where Pillow itself refuses
}


def main(args: list[str]) -> int:
    """Start the demo; returns the exit code."""
    options = parse(args)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    try:
        with tempfile.TemporaryDirectory(prefix="serve-") as folder:
            clean_up_when_told_to_end(folder)
            # Read when gradio is imported: uploads lie in a folder of our own, and nobody is told of them.
            os.environ.update(
                GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", TMPDIR=folder
            )
            tempfile.tempdir = folder
            run(options)
    except (UserError, OSError) as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def clean_up_when_told_to_end(folder: str) -> None:
    """Remove our temporary files at a signal that would end the process on the spot; uvicorn has its own way, later.

    Not by an exception: one that was raised while torch was being imported ended in a crash, once in 24 tries.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    def hang_up(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)  # uvicorn knows this one, and ends in order

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, hang_up)


def parse(args: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m serve", description="A web page that tries out a trained model.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", type=Path, help="the artifact: runs/<name>/<version>/model")
    which.add_argument("--latest", action="store_true", help="the newest artifact below --runs_dir")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"))
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (default: 7860)")
    parser.add_argument("--user", help=f"ask visitors for this name and the password in ${PASSWORD}")
    parser.add_argument("--root_path", default="", help="prefix that a proxy shows the page under, as /node/n1/7860")
    parser.add_argument("--allowed_host", action="append", default=[], help="a name that a proxy gives this server")
    parser.add_argument("--no_downloads", action="store_true", help="keep the model: visitors may only try it")
    parser.add_argument("--threads", type=int, help=f"of the network (default: the cores, up to {MAX_THREADS})")
    parser.add_argument("--max_megabytes", type=float, default=20, help="size of an upload (default: 20)")
    parser.add_argument("--max_megapixels", type=float, default=40, help="size of a picture (default: 40)")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    return parser.parse_args(args)


def check(options: argparse.Namespace) -> None:
    """Raise a UsageError for a value that cannot be."""
    for name, (low, high) in RANGES.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name} is {value:g}; expected {low:g} to {high:,g}.")
    if options.root_path and not ROOT_PATH.fullmatch(options.root_path):
        raise UsageError(f"--root_path is {options.root_path!r}; expected a path such as /node/n1/7860.")


def run(options: argparse.Namespace) -> None:
    """Load the model and serve it; before that, tell at once what can be told without torch."""
    check(options)
    auth, folder = credentials(options.user), options.model or latest(options.runs_dir)
    listening = listen(options.host, options.port)
    if auth is None and not ip_address(listening.getsockname()[0]).is_loopback:
        log.warning(f"anybody who can reach {options.host} can use this page; --user asks for a password")
    log.info(f"starting {folder}: torch, the model, its export to ONNX Runtime, the page; that takes a while")
    import torch

    from serve.classifier import Classifier

    torch.set_num_threads(options.threads or min(usable_cores(), MAX_THREADS))
    classifier = Classifier(folder)
    classifier.accelerate()
    from serve.app.server import Access, serve
    from serve.app.uploads.limits import Limits

    access = Access(auth, options.root_path, tuple(options.allowed_host), not options.no_downloads)
    serve(classifier, Limits(options.max_megabytes, options.max_megapixels), access, listening)


def latest(runs_dir: Path) -> Path:
    """The artifact that was written last."""
    cards = sorted(runs_dir.glob("*/*/model/model.json"), key=lambda card: card.stat().st_mtime)
    if not cards:
        raise UsageError(f"no trained model below {runs_dir}; run make fit first.")
    return cards[-1].parent


def credentials(user: str | None) -> tuple[str, str] | None:
    """Name and password; the latter never from the command line, which every user of the machine can read."""
    if user is None:
        return None
    password = os.environ.get(PASSWORD) or (getpass.getpass(f"Password for {user}: ") if sys.stdin.isatty() else "")
    if not password:
        raise UsageError(f"--user {user} needs a password; set {PASSWORD}.")
    return user, password


def usable_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
