"""results.json: everything that a comparison has measured so far, rewritten after every run.

    {"schema": 2, "recipe": hash, "options": {...}, "batch_size": 64, "image_size": 224, "settings": {...},
     "command": [...], "machines": {name: facts}, "unavailable": [{"mode", "machine", "reason"}],
     "runs": [{"part", "mode", "number", "machine", "git", "launcher", "command", "date", "began", "seconds",
               "other_cores", "failed", "earlier_failures": [{"date", "failed"}],
               "ranks": [what measuring/measure.py and measuring/all_reduce_timing.py leave]}]}

Times are in seconds (moments since 1970), sizes in bytes. Derived values are not stored: they follow from the runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning_app.errors import UsageError
from lightning_app.files import replace_file

SCHEMA = 2
FILE = "results.json"


class Results:
    """The content of a results.json, and its path.

    Args:
        path: of the file.
        content: as in the module's docstring.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content

    @classmethod
    def begin(cls, path: Path, facts: dict[str, Any], settings: dict[str, Any], command: list[str]) -> Results:
        """Continue an existing file, or start a new one.

        Raises:
            UsageError: the existing file is for another recipe or was measured differently.
        """
        fresh = {
            "schema": SCHEMA,
            **{name: facts[name] for name in ("recipe", "options", "batch_size", "image_size")},
            "settings": settings,
            "command": command,
            "machines": {facts["machine"]["host"]: facts["machine"]},
            "unavailable": [],
            "runs": [],
        }
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path, fresh)
        found = read(path)
        if any(found[name] != fresh[name] for name in ("recipe", "settings")):
            raise UsageError(f"{path} belongs to another comparison ({differing(found, fresh)}); choose another --to.")
        refuse_other_machines(path, found["machines"], fresh["machines"])
        found["machines"] |= fresh["machines"]
        return cls(path, found | {"command": command, "unavailable": elsewhere(found, facts["machine"]["host"])})

    def has(self, machine: str, key: tuple[str, str, int]) -> bool:
        """Whether a run was made here and did not fail."""
        return any(run["machine"] == machine and run_key(run) == key and not run["failed"] for run in self.runs)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """All that were made."""
        return self.content["runs"]

    def add(self, run: dict[str, Any]) -> None:
        """Store a run; it replaces an earlier one that failed, because rows come in the order of runs."""
        keys = [(old["machine"], run_key(old)) for old in self.runs]
        same = run["machine"], run_key(run)
        place = keys.index(same) if same in keys else len(keys)
        failures = [failure for old in self.runs[place : place + 1] for failure in failures_of(old)]
        self.runs[place : place + 1] = [run | {"earlier_failures": failures}]
        self.save()

    def save(self) -> None:
        """Replace the previous file."""
        replace_file(self.path, json.dumps(self.content, indent=1).encode())

    def merge(self, path: Path) -> None:
        """Add the runs of another machine; a UsageError if they are for another recipe, or measured differently."""
        other = read(path)
        if other["recipe"] != self.content["recipe"] or other["settings"] != self.content["settings"]:
            raise UsageError(
                f"{path} cannot be compared with this: {differing(other, self.content)}. Run it with the same options."
            )
        refuse_other_machines(path, other["machines"], self.content["machines"])
        self.content["machines"] |= other["machines"]
        for part in ("runs", "unavailable"):
            known = self.content[part]
            known += [each for each in other[part] if each not in known]
        self.save()


def failures_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    """A run's failed attempts, including its own: none is forgotten when the run is repeated."""
    own = [{"date": run["date"], "failed": run["failed"]}] if run["failed"] else []
    return [*run.get("earlier_failures", []), *own]


def run_key(run: dict[str, Any]) -> tuple[str, str, int]:
    """As Trial.key."""
    return run["part"], run["mode"], run["number"]


def read(path: Path) -> dict[str, Any]:
    """The content of a results.json of this version; a UsageError for any other file."""
    try:
        content = json.loads(path.read_text())
        schema = content["schema"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path} is not a results.json of compare ({error!r}); expected the file that a comparison leaves in its "
            "folder. Copy it again, or choose another --to."
        ) from error
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema}; this program reads {SCHEMA}. Measure again.")
    return content


def refuse_other_machines(path: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Refuse machines with the same name that are not the same machine, or whose software has changed.

    Raises:
        UsageError: with what differs.
    """
    for name in theirs.keys() & ours.keys():
        then, now = identity_of(theirs[name]), identity_of(ours[name])
        changed = sorted(fact for fact in then.keys() | now.keys() if then.get(fact) != now.get(fact))
        if changed:
            what = "; ".join(f"{fact} is {then.get(fact)} there, {now.get(fact)} here" for fact in changed)
            raise UsageError(
                f"{path} has runs of a machine called {name} that is not this one as it is now ({what}). Measure again "
                "into another --to, or under another hostname."
            )


def identity_of(machine: dict[str, Any]) -> dict[str, Any]:
    """What two machines of the same name have to share to be the same: hardware and versions."""
    return {**machine["versions"], "host_cores": machine["host_cores"], "gpus": machine["gpus"]}


def elsewhere(content: dict[str, Any], machine: str) -> list[dict[str, Any]]:
    """What other machines could not run; for this one it is determined again."""
    return [row for row in content["unavailable"] if row["machine"] != machine]


def differing(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """The options and settings in which two comparisons differ."""
    found = {**theirs["options"], **theirs["settings"]}, {**ours["options"], **ours["settings"]}
    names = sorted(name for name in found[0].keys() | found[1].keys() if found[0].get(name) != found[1].get(name))
    return "; ".join(f"{name} is {found[0].get(name)} there, {found[1].get(name)} here" for name in names)
