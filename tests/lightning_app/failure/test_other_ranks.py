"""A rank that fails before the rendezvous lets its launcher end the others."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_app.failure import other_ranks
from lightning_app.launchers.launch import Launch

REPOSITORY = Path(__file__).parents[3]
LOST_ATTEMPTS = 2


def test_attempts_that_hang_do_not_use_up_the_patience_with_slurms_controller(tmp_path: Path) -> None:
    (tmp_path / "attempts").touch()
    scancel = tmp_path / "scancel"
    scancel.write_text(
        f"""#!/bin/sh
        echo "$*" >> "{tmp_path}/attempts"
        [ "$(wc -l < "{tmp_path}/attempts")" -gt {LOST_ATTEMPTS} ] || exec sleep 600
        kill -KILL $PPID
        """
    )
    scancel.chmod(0o755)
    code = (
        "from types import SimpleNamespace; from lightning_app.failure import other_ranks; "
        "other_ranks.CANCEL_ANSWER_SECONDS *= 0.03; other_ranks.CANCEL_PAUSE_SECONDS *= 0.03; "
        "other_ranks.CANCEL_SECONDS *= 0.03; "
        "other_ranks.end_others(SimpleNamespace(launcher='slurm'))"
    )
    ids = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=os.environ | ids, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "attempts").read_text().splitlines() == ["--ctld --signal=KILL 7.0"] * (LOST_ATTEMPTS + 1)


def test_mpich_is_told_to_abort_only_when_the_error_has_been_read() -> None:
    code = (
        "import sys; from types import SimpleNamespace; from lightning_app.failure import other_ranks; "
        "other_ranks.READ_SECONDS = 600; print('error', file=sys.stderr); "
        "other_ranks.end_others(SimpleNamespace(launcher='hydra'))"
    )
    told, pmi = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        pass_fds=[pmi],
        env=os.environ | {"PMI_FD": str(pmi)},
    )
    os.close(pmi)
    with process, os.fdopen(told) as abort:
        assert process.stderr is not None
        select.select([process.stderr], [], [])
        assert select.select([abort], [], [], 0.5)[0] == []
        assert process.stderr.read() == b"error\n"
        assert abort.read() == "cmd=abort exitcode=2\n"


STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    ("launcher", "variables", "told"),
    [
        ("slurm", STEP, ["cancel 7.0"]),
        ("slurm", STEP | {"SLURM_PTY_PORT": "44673"}, []),  # a terminal: the step is someone's shell
        ("slurm", STEP | {"PATH": ""}, []),
        ("hydra", {"PMI_FD": "5"} | STEP, ["abort 5"]),
        ("hydra", STEP, []),
        ("openmpi", {"PMI_FD": "5"} | STEP, []),
    ],
)
def test_only_the_launcher_of_this_job_is_told_to_end_it(
    launcher: str, variables: dict[str, str], told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    monkeypatch.setattr(other_ranks, "cancel_step", lambda step: happened.append(f"cancel {step}"))
    monkeypatch.setattr(other_ranks, "abort_mpich", lambda proxy: happened.append(f"abort {proxy}"))
    (tmp_path / "scancel").touch(mode=0o755)
    for name in ("SLURM_PTY_PORT", "PMI_FD", *STEP):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"PATH": str(tmp_path)} | variables).items():
        monkeypatch.setenv(name, value)
    other_ranks.end_others(Launch(launcher, 2, 0, 0, 2, 0, 1))
    assert happened == told
