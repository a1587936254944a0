"""What identifies a run: the options that decide what is learnt, normalised once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Options that do not change what is learnt: where runs and caches are kept, which machine is used, what is shown, how
# often it saves. `on_nan` too, so that a run that NaN stopped can continue with the other value.
NOT_IDENTITY = (
    "config",
    "name",
    "runs_dir",
    "resume",
    "checkpoint.every_n_steps",
    "checkpoint.every_n_minutes",
    "checkpoint.keep",
    "checkpoint.max_share",
    "hang",
    "on_nan",
    "data.cache_dir",
    "trainer.accelerator",
    "trainer.benchmark",
    "trainer.default_root_dir",
    "trainer.devices",
    "trainer.enable_checkpointing",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.logger",
    "trainer.num_nodes",
    "trainer.plugins",
    "trainer.profiler",
    "trainer.strategy",
)
# Options for the length of a run: a run that is resumed by name may be made longer.
LENGTH = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.min_epochs", "trainer.min_steps")
SHOWN = 5  # options to name in an error


@dataclass(frozen=True)
class RunIdentity:
    """A run's options by full name, sorted, with values as JSON: two runs are the same if these are equal."""

    options: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> RunIdentity:
        """From the parsed options of a fit, nested or dotted; objects that JSON cannot write count by name."""
        options = what_counts(config).items()
        return cls(tuple(sorted((name, json.dumps(value, sort_keys=True, default=str)) for name, value in options)))

    @classmethod
    def load(cls, saved: Mapping[str, str]) -> RunIdentity:
        """From what `dump` returned."""
        return cls(tuple(sorted(saved.items())))

    def dump(self) -> dict[str, str]:
        """For a checkpoint: strings only."""
        return dict(self.options)

    @property
    def digest(self) -> str:
        """A short name for it."""
        return hashlib.sha256(json.dumps(self.options).encode()).hexdigest()[:16]

    def differences(self, ours: RunIdentity) -> dict[str, tuple[str, str]]:
        """The options in which this run and ours differ: the value there and here; `unset` if missing."""
        theirs, here = dict(self.options), dict(ours.options)
        names = sorted(name for name in theirs.keys() | here.keys() if theirs.get(name) != here.get(name))
        return {name: (theirs.get(name, "unset"), here.get(name, "unset")) for name in names}


def besides_length(differences: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """The differences apart from the run's length."""
    return {name: values for name, values in differences.items() if not name.startswith(LENGTH)}


def in_words(differences: Mapping[str, tuple[str, str]]) -> str:
    """The first few differences, as a line for people."""
    shown = [f"{name} is {there} there and {here} here" for name, (there, here) in list(differences.items())[:SHOWN]]
    more = len(differences) - SHOWN
    return "; ".join([*shown, *([f"and {more} more"] if more > 0 else [])])


def what_counts(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide what is learnt, by full name."""
    return {
        name: value
        for name, value in flatten(config)
        if not any(name == other or name.startswith(f"{other}.") for other in NOT_IDENTITY)
    }


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested options as pairs of dotted name and value."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
