"""python -m serve: find the artifact, then start the page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models.errors import ModelError


def main(args: list[str]) -> int:
    """Start the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serve", description="A web page that tries out a trained model.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", type=Path, help="the artifact: runs/<name>/<version>/model")
    which.add_argument("--latest", action="store_true", help="the newest artifact below --runs_dir")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"))
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860)
    options = parser.parse_args(args)
    try:
        folder = options.model or latest(options.runs_dir)
        # Imported here: gradio takes seconds, and a wrong path should be told at once.
        from serve.classifier import Classifier

        classifier = Classifier(folder)
        from serve.page import page

        page(classifier).launch(server_name=options.host, server_port=options.port)
    except (ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def latest(runs_dir: Path) -> Path:
    """The artifact that was written last."""
    cards = sorted(runs_dir.glob("*/*/model/model.json"), key=lambda card: card.stat().st_mtime)
    if not cards:
        raise ModelError(f"no trained model below {runs_dir}; run make fit first.")
    return cards[-1].parent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
