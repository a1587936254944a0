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
MAX_THREADS = 4  # by default: a login node has many cores, and many users
PASSWORD = "SERVE_PASSWORD"
ROOT_PATH = re.compile(r"(/[\w.~-]+)+", re.ASCII)
RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "threads": (1, 1024),
    "max_megabytes": (0.001, 1000),
    "max_megapixels": (0.001, 170),  # Pillow itself refuses more
}


def main(args: list[str]) -> int:
    """Start the demo; returns the exit code."""
    options = parse(args)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    try:
        with tempfile.TemporaryDirectory(prefix="serve-") as folder:
            clean_up_when_told_to_end(folder)
            # Read when gradio is imported: uploads go to a separate folder, and Gradio sends no analytics.
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
    """Delete our temporary files at a signal that would kill the process; later, uvicorn handles the signals.

    The handler raises no exception: one raised while torch was being imported crashed Python, once in 24 tries.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    def hang_up(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)  # uvicorn handles this one by shutting down cleanly

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, hang_up)


def parse(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serve", description="Serve a web page to try a trained model.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", type=Path, help="the artifact: runs/<name>/<version>/model")
    which.add_argument("--latest", action="store_true", help="the newest artifact below --runs_dir")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="where --latest looks (default: runs)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="0 picks a free port (default: 7860)")
    parser.add_argument("--user", help=f"visitors log in with this name and the password in ${PASSWORD}")
    parser.add_argument("--root_path", default="", help="the page's path behind a proxy, such as /node/n1/7860")
    parser.add_argument("--allowed_host", action="append", default=[], help="one more host name, such as a proxy's")
    parser.add_argument("--no_downloads", action="store_true", help="do not offer the model for download")
    parser.add_argument("--threads", type=int, help=f"for the network (default: one per core, up to {MAX_THREADS})")
    parser.add_argument("--max_megabytes", type=float, default=20, help="largest upload in MB (default: 20)")
    parser.add_argument("--max_megapixels", type=float, default=40, help="largest picture in megapixels (default: 40)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(args)


def check(options: argparse.Namespace) -> None:
    """Raise a UsageError for an invalid value."""
    for name, (low, high) in RANGES.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name} is {value:g}; expected {low:g} to {high:,g}.")
    if options.root_path and not ROOT_PATH.fullmatch(options.root_path):
        raise UsageError(f"--root_path is {options.root_path!r}; expected a path such as /node/n1/7860.")


def run(options: argparse.Namespace) -> None:
    """Load the model and serve it; errors that do not need torch are reported before it is imported."""
    check(options)
    auth, folder = credentials(options.user), options.model or latest(options.runs_dir)
    listening = listen(options.host, options.port)
    if auth is None and not ip_address(listening.getsockname()[0]).is_loopback:
        log.warning(f"anybody who can reach {options.host} can use this page; add --user to require a password")
    log.info(f"starting {folder}: importing torch, loading the model, exporting it if it is new; this takes a while")
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
        raise UsageError(f"no trained model below {runs_dir}; train one with make fit, or choose another --runs_dir.")
    return cards[-1].parent


def credentials(user: str | None) -> tuple[str, str] | None:
    """Name and password; the password never from the command line, which every user of the machine can read."""
    if user is None:
        return None
    password = os.environ.get(PASSWORD) or (getpass.getpass(f"Password for {user}: ") if sys.stdin.isatty() else "")
    if not password:
        raise UsageError(f"--user {user} needs a password; set {PASSWORD}.")
    return user, password


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
