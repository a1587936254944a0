"""Print, as JSON, what this process could know of its launcher: a case for tests/lightning_app/launchers/launches.

    srun --ntasks=3 python tests/lightning_app/launchers/record_launch.py "srun --ntasks=3, SLURM 23.11"
    mpirun -np 2 python tests/lightning_app/launchers/record_launch.py "mpirun -np 2, Open MPI 5.0.8" --to some/folder

Send us the output where `doctor` shows a wrong rank, with the rank that you expected. Standard library only.
Of the variables only numbers and the loopback are kept: hosts, paths, users and addresses are replaced by `(text)`.
The names of the parent processes are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from lightning_app.errors import UsageError
from lightning_app.launchers.detection import identify
from lightning_app.launchers.processes import RELEVANT, Process, parents


def main() -> None:
    """Print one case, or write it to a file of its own: the ranks of a job would mix their lines."""
    parser = argparse.ArgumentParser(description="Print what this process can know of its launcher, as JSON.")
    parser.add_argument("what", help="the command and the launcher's version")
    parser.add_argument("--to", type=Path, help="a folder to write to")
    options = parser.parse_args()
    found = case(options.what)
    text = json.dumps(found, indent=2) + "\n"
    if options.to:
        rank = found["expected"].get("global_rank", "error")
        (options.to / f"rank-{rank}-{os.getpid()}.json").write_text(text)
    else:
        print(text, end="")


def case(what: str) -> dict[str, Any]:
    """This process as a recorded case; `expected` is what we say now, to be corrected by hand where it is wrong."""
    ancestors = tuple(parents())
    try:
        expected = asdict(identify(os.environ, ancestors))
        for name in ("sources", "reason", "warning", "own_gpus"):
            del expected[name]
    except UsageError as error:
        expected = {"error": str(error).partition(". Found:")[0]}
    return {
        "what": what,
        "expected": expected,
        "environ": anonymous(os.environ),
        "ancestors": [record(process) for process in ancestors],
    }


def record(process: Process) -> dict[str, Any]:
    """A parent process without what it says about the user: the names of scripts that are no launchers."""
    python_program = re.sub(r"^python .*", "python (text)", process.program)
    environ = None if process.environ is None else anonymous(process.environ)
    return {"name": process.name, "pid": process.pid, "program": python_program, "environ": environ}


def anonymous(environ: Mapping[str, str]) -> dict[str, str]:
    """The relevant variables; of their values only numbers, and counts like 2(x3),1."""
    relevant = {name: value for name, value in sorted(environ.items()) if RELEVANT.search(name)}
    harmless = re.compile(r"[\d(x),]*|127\.0\.0\.1|localhost")
    return {name: value if harmless.fullmatch(value) else "(text)" for name, value in relevant.items()}


if __name__ == "__main__":
    main()
