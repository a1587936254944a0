"""Make small mistakes in one room, one at a time, and see whether its tests notice: `make mutate ROOM=launchers`.

Runs mutmut on a copy of the checkout, so the files that you are editing do not change. mutmut changes one operator,
constant, argument or condition of one function at a time, and forks a pytest that has already imported everything.
It cannot see into the programs that tests start: what it says no test reaches is tried again with all tests of its
file, those that start the program included. Survivors are printed as diffs: write the missing test, or a reason in
docs/testing.md.
"""

from __future__ import annotations

import argparse
import configparser
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache, partial
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("lightning_app", "models", "datamodules", "serve")
MUTMUT = [sys.executable, "-m", "mutmut"]
# These do not work on the wrapper that mutmut puts around each function, or start a program that does not.
UNTRACED = "not compile and not pickle and not of_a_script and not parent_is_ended"
PROGRAMS = "not cluster and not browser and not soak"
STATUS = re.compile(r"^\s*(\S+): (.+)$")  # a line of `mutmut results --all true`


def main() -> None:
    """Mutate, test, count."""
    options = parse()
    source, tests = places(options.room)
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = checkout(Path(folder))
        configure(copy, source, tests, options.marker)
        names = mutants(copy, options.only)
        chosen = random.Random(0).sample(names, min(options.sample, len(names)))
        print(f"{options.room}: {len(names)} mutants, trying {len(chosen)}", flush=True)
        subprocess.run([*MUTMUT, "run", "--max-children", str(options.jobs), *chosen], cwd=copy, check=False)
        found = {name: status for name, status in statuses(copy).items() if name in chosen}
        report(copy, found | in_programs(copy, tests, [name for name in chosen if found.get(name) == "no tests"]))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", help="launchers, compare/analysis, models, datamodules/sources, ...")
    parser.add_argument("--sample", type=int, default=60, help="mutants to try, drawn with a fixed seed")
    parser.add_argument("--only", default="", help="part of a mutant's name, such as a function")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--marker", default="", help="pytest -m")
    return parser.parse_args()


def places(room: str) -> tuple[str, str]:
    """The room's folder or file, and its tests."""
    for source in (f"lightning_app/{room}", room):
        if (REPOSITORY / source).exists() or (REPOSITORY / f"{source}.py").exists():
            named = Path("tests", source).with_name(f"test_{Path(source).name}.py")
            candidates = [f"tests/{source}", str(named), f"tests/{room}"]
            if found := [tests for tests in candidates if (REPOSITORY / tests).exists()]:
                return source, found[0]
    sys.exit(
        f"error: there is no room {room} with tests; expected a folder of lightning_app, or models, datamodules, serve."
    )


def checkout(folder: Path) -> Path:
    """A copy of what git tracks, with its changes."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def configure(copy: Path, source: str, tests: str, marker: str) -> None:
    """mutmut's setup.cfg."""
    others = [path.name for path in copy.iterdir() if path.name not in (*PACKAGES, "tests", "pyproject.toml")]
    config = configparser.ConfigParser()
    config["mutmut"] = {
        "source_paths": lines(PACKAGES),
        "only_mutate": lines([f"{source}/*", f"{source}.py"]),
        "also_copy": lines(others),
        "pytest_add_cli_args": lines(["-p", "no:cacheprovider", "-k", UNTRACED, *(["-m", marker] if marker else [])]),
        "pytest_add_cli_args_test_selection": lines([tests]),
        "timeout_multiplier": "5",
        "timeout_constant": "30",
    }
    with open(copy / "setup.cfg", "w") as file:
        config.write(file)


def lines(values: list[str] | tuple[str, ...]) -> str:
    """A list as configparser reads it."""
    return "\n" + "\n".join(values)


def mutants(copy: Path, part: str) -> list[str]:
    """The names of all mutants: running one that does not exist creates them and tries none."""
    subprocess.run([*MUTMUT, "run", "no.such.mutant"], cwd=copy, check=False, stdout=subprocess.DEVNULL)
    return sorted(name for name in statuses(copy) if part in name)


def statuses(copy: Path) -> dict[str, str]:
    """The outcome for each mutant."""
    shown = subprocess.run([*MUTMUT, "results", "--all", "true"], cwd=copy, capture_output=True, text=True, check=True)
    return {match[1]: match[2] for match in map(STATUS.match, shown.stdout.splitlines()) if match}


def in_programs(copy: Path, tests: str, names: list[str]) -> dict[str, str]:
    """The outcome for each mutant, with all tests of its file, or else of its room, and whatever they start."""
    fails = cache(partial(failing, copy))  # asked once without a mutant: what fails then says nothing about one
    found = {}
    for name in names:
        own = f"{tests}/test_{name.split('.x')[0].split('.')[-1]}.py"
        chosen = own if (copy / "mutants" / own).exists() else tests
        if broken := fails(chosen, ""):
            found[name] = "not tried"
            print(f"not tried, because {chosen} fails without a mutant: {name}\n{broken}", flush=True)
            continue
        found[name] = "killed" if fails(chosen, name) else "survived"
        print(f"{found[name]} in programs: {name}", flush=True)
    return found


def failing(copy: Path, tests: str, mutant: str) -> str:
    """How these tests fail with a mutant, or without one (""); empty if they pass."""
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", PROGRAMS, "-k", UNTRACED]
    environ = os.environ | {"MUTANT_UNDER_TEST": mutant, "PYTHONPATH": str(copy / "mutants")}
    done = subprocess.run([*pytest, tests], cwd=copy / "mutants", env=environ, stdout=subprocess.PIPE, text=True)
    return f"exit code {done.returncode}: ...{done.stdout[-300:]}" if done.returncode else ""


def report(copy: Path, found: dict[str, str]) -> None:
    """Counts, and the difference that each survivor is."""
    for name in sorted(name for name, status in found.items() if status in ("survived", "no tests")):
        print(f"\n{found[name]}: {name}", flush=True)
        subprocess.run([*MUTMUT, "show", name], cwd=copy, check=False)
    noticed = sum(status in ("killed", "timeout", "caught by type check") for status in found.values())
    print(f"\n{dict(Counter(found.values()))}: {noticed} of {len(found)} noticed")


if __name__ == "__main__":
    main()
