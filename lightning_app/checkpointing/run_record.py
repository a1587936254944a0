"""run.json: what an attempt records about a run for later attempts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lightning_app.files import replace_file

RECORD = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """What is known about a run without opening a checkpoint.

    Attributes:
        config: the digest of its identity.
        finished: whether it finished.
        job: its SLURM job, if any.
        abandoned: none of its checkpoints is intact, so no attempt resumes it.
        origin: the checkpoint of another run that it started from, if any.
        from_step: optimizer steps before `origin`.
    """

    config: str
    finished: bool = False
    job: str | None = None
    abandoned: bool = False
    origin: str | None = None
    from_step: int = 0

    def write(self, folder: Path) -> None:
        """Write it into a run's folder, replacing an earlier one."""
        replace_file(folder / RECORD, json.dumps(asdict(self)).encode())


def read_record(folder: Path) -> RunRecord | None:
    """The record in a run's folder; None if it is missing or broken."""
    try:
        content: Any = json.loads((folder / RECORD).read_text())
        return RunRecord(**{field.name: content[field.name] for field in fields(RunRecord) if field.name in content})
    except (OSError, ValueError, TypeError):
        return None
