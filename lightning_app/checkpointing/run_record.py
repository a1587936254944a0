"""run.json: what an attempt notes about a run, for the attempts after it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lightning_app.files import replace_file

RECORD = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run without opening a checkpoint.

    Attributes:
        config: the digest of its identity.
        finished: it came to its end.
        job: the SLURM job that it runs in, if any.
        abandoned: no checkpoint of it is whole, so no attempt goes on with it.
        origin: the checkpoint of another run that it was begun from, if any.
        from_step: optimizer steps that are behind `origin`.
    """

    config: str
    finished: bool = False
    job: str | None = None
    abandoned: bool = False
    origin: str | None = None
    from_step: int = 0

    def write(self, folder: Path) -> None:
        """Write it into a run's folder, in place of an earlier one."""
        replace_file(folder / RECORD, json.dumps(asdict(self)).encode())


def read_record(folder: Path) -> RunRecord | None:
    """The record in a run's folder; None where it is missing or broken."""
    try:
        content: Any = json.loads((folder / RECORD).read_text())
        return RunRecord(**{field.name: content[field.name] for field in fields(RunRecord) if field.name in content})
    except (OSError, ValueError, TypeError):
        return None
