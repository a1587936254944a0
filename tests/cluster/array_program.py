"""A task of a job array. The last one, whose job has the array's own number, asks to be run again; the second one waits
until it has come back; the first one has ended long before.

python array_program.py FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from lightning_app.checkpointing.preemption import job_deadline, requeue, show_job


def main() -> None:
    """Write what this attempt saw to `TASK-RESTARTS.json`."""
    folder, task = Path(sys.argv[1]), int(os.environ["SLURM_ARRAY_TASK_ID"])
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    if task == 3 and restarts == 0:
        wait_for(folder / "1-0.json", folder / "2-0.started")
    (folder / f"{task}-{restarts}.started").touch()
    if task == 2:
        wait_for(folder / "3-1.json")
    end = job_deadline(os.environ).end
    seen = {"shown": show_job(os.environ).get("ArrayTaskId"), "left": end and end - time.time()}
    (folder / f"{task}-{restarts}.json").write_text(json.dumps(seen))
    if task == 3 and restarts == 0:
        print(requeue(os.environ, signal.SIGUSR1), flush=True)
        wait_for(folder / "never")


def wait_for(*files: Path) -> None:
    """Poll until all are there; the job's time limit ends it."""
    while not all(file.exists() for file in files):
        time.sleep(0.1)


if __name__ == "__main__":
    main()
