"""A rank raises, is killed, or never starts: the job ends soon, prints the first error last, leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from failing_program import MESSAGE
from time_limits import limit

from lightning_app.failure.peer_monitor import GRACE_SECONDS
from lightning_app.library.own_process import CONSOLE_SCRIPT
from slurm import Slurm

PROGRAM = Path(__file__).with_name("failing_program.py")
REPOSITORY = Path(__file__).parents[2]
SECONDS = 15  # from the fault to the end of the job, on an idle machine; slower machines get proportionally more
CONNECT_SECONDS = 5
IMPORT_SECONDS = 20  # until the other rank starts to wait
HOST = socket.gethostname()
NOWHERE = "http://127.0.0.1:9"  # a proxy where nobody listens
ROUNDS = int(os.environ.get("TESTS_SOAK_ROUNDS", "10"))
MARK = "TESTS_FAILING_MARK"

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


@dataclass(frozen=True)
class Failed:
    """A job that has ended.

    Attributes:
        code: its exit code.
        lines: everything that its processes and its launcher printed.
        said: what the program's own processes printed, in order.
        fault, ended: when, in seconds since the epoch.
        orphans: command lines of processes that still exist.
    """

    code: int
    lines: list[str]
    said: list[str]
    fault: float
    ended: float
    orphans: list[str]

    @property
    def seconds(self) -> float:
        """From the fault to the end."""
        return self.ended - self.fault


def fail(folder: Path, launcher: Sequence[str], fault: str, rank: int, environ: dict[str, str]) -> Failed:
    """Run the job whose `rank` has a `fault`, to its end."""
    mark = uuid.uuid4().hex
    when, said = folder / "fault", folder / "said"
    environ = environ | {MARK: mark, "FAILING_WHEN": str(when), "FAILING_SAID": str(said), "OMP_NUM_THREADS": "1"}
    environ["PYTHONPATH"] = str(REPOSITORY)
    if fault == "absent":
        environ["LIGHTNING_APP_CONNECT_TIMEOUT"] = str(CONNECT_SECONDS)
    program = PROGRAM if launcher else as_console_script(folder)
    command = [*launcher, sys.executable, str(program), fault, str(rank), *fit_options(folder)]
    command += [] if launcher else ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
    job = subprocess.Popen(command, env=environ, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        printed, _ = job.communicate(timeout=limit(300))
        ended = time.time()
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"not ended after {error.timeout:.0f} s:\n{(error.output or b'').decode()}")
    finally:
        job.kill()  # otherwise a job that hangs keeps its CPUs from the next test
        orphans = end_marked(mark)
    lines = printed.decode().splitlines()
    return Failed(job.returncode, lines, said.read_text().splitlines(), float(when.read_text()), ended, orphans)


def as_console_script(folder: Path) -> Path:
    """The program under the name of ours, which Lightning may start again for the other ranks."""
    (script := folder / CONSOLE_SCRIPT).symlink_to(PROGRAM)
    return script


def fit_options(folder: Path) -> list[str]:
    """Twenty steps on the digits."""
    options = {
        "--config": "configs/quickstart.yaml",
        "--trainer.max_epochs": "1",
        "--trainer.limit_train_batches": "20",
        "--trainer.precision": "32-true",
        "--data.image_size": "32",
        "--data.cache_dir": str(folder.parent / "packed"),
        "--runs_dir": str(folder / "runs"),
    }
    return ["fit", *(word for option in options.items() for word in option)]


def end_marked(mark: str) -> list[str]:
    """Kill processes that have outlived their job by more than the grace period; returns their command lines."""
    deadline = time.monotonic() + GRACE_SECONDS + 1
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return list(left.values())


def marked(mark: str) -> dict[int, str]:
    """Processes that were started with the mark, other than zombies, by number."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has exited meanwhile
    return found


def first_error(fault: str, rank: int) -> str:
    """How the last line begins."""
    if fault == "absent":
        waiting = f"error: rank {1 - rank} on {HOST}"
        return waiting + (f": 1 of 2 ranks did not report within {CONNECT_SECONDS} s: rank 1." if rank else "")
    if fault == "kill":
        return f"error: rank {rank} on {HOST} ended without a word"
    return f"error: rank {rank} on {HOST}: " + (MESSAGE if fault == "data" else f"RuntimeError: {MESSAGE}")


def assert_failed_well(failed: Failed, fault: str, rank: int) -> None:
    """The promise of this file."""
    assert_said(failed, fault, rank)
    waits = fault == "absent"
    assert failed.seconds < limit(SECONDS + waits * IMPORT_SECONDS) + waits * CONNECT_SECONDS


def assert_said(failed: Failed, fault: str, rank: int) -> None:
    """The job has ended with its first error, and left nothing behind."""
    expected = first_error(fault, rank)
    assert failed.code != 0
    assert failed.orphans == []
    assert failed.said[-1].startswith(expected), failed.lines[-30:]
    assert any(line.startswith(expected) for line in failed.lines), failed.lines[-30:]


def environment(launcher: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """What a launcher is started in."""
    return request.getfixturevalue("slurm").environ if launcher == "srun" else dict(os.environ)


def words(launcher: str, request: pytest.FixtureRequest) -> list[str]:
    """What stands before the program to start two ranks of it."""
    if launcher == "local":
        return []
    if launcher == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
    if launcher == "srun":  # without --kill-on-bad-exit, and two nodes
        return ["srun", "--nodes=2", "--ntasks=2"]
    return [*request.getfixturevalue(launcher), "-np", "2"]


@pytest.mark.parametrize("fault", ["raise", "kill", "absent"])
@pytest.mark.parametrize("launcher", ["openmpi5", "srun", "torchrun", "local"])
def test_the_job_ends_with_the_first_error(
    launcher: str, fault: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    failed = fail(tmp_path, words(launcher, request), fault, 1, environment(launcher, request))
    assert_failed_well(failed, fault, 1)


@pytest.mark.parametrize("launcher", ["srun", "mpich", "local"])
def test_an_error_before_the_rendezvous_ends_the_others_where_the_launcher_would_not(
    launcher: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    failed = fail(tmp_path, words(launcher, request), "data", 1, environment(launcher, request))
    assert_failed_well(failed, "data", 1)


def scancel_first(folder: Path, script: str, environ: dict[str, str]) -> dict[str, str]:
    """An environment in which `scancel` runs a script, whose last line is SLURM's own."""
    scancel = folder / "scancel"
    scancel.write_text(f'#!/bin/sh\n{script}\nexec {shutil.which("scancel")} "$@"\n')
    scancel.chmod(0o755)
    return environ | {"PATH": f"{folder}{os.pathsep}{environ['PATH']}"}


def test_the_step_is_cancelled_even_if_the_controller_does_not_answer_at_first(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    script = f'date +%s.%N > "{asked}"; mkdir "{tmp_path}/tried" && exit 1'
    environ = scancel_first(tmp_path, script, environment("srun", request))
    failed = fail(tmp_path, words("srun", request), "absent", 1, environ)
    assert_said(failed, "absent", 1)
    assert failed.ended - float(asked.read_text()) < limit(SECONDS)  # from the attempt that was answered


def test_the_step_is_cancelled_on_a_node_that_the_failing_rank_does_not_reach(
    slurm: Slurm, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text(re.sub(r"(NodeName=n2 .* Port=)\d+", r"\g<1>9", (slurm.folder / "slurm.conf").read_text()))
    environ = scancel_first(tmp_path, f'export SLURM_CONF="{conf}"', slurm.environ)
    assert_failed_well(fail(tmp_path, words("srun", request), "absent", 1, environ), "absent", 1)


def test_an_error_is_said_even_if_what_follows_it_hangs(tmp_path: Path) -> None:
    assert_failed_well(fail(tmp_path, [], "hang", 1, dict(os.environ)), "hang", 1)


def printed(words: Sequence[str], options: Sequence[str], environ: dict[str, str], folder: Path) -> tuple[int, str]:
    """Exit code and all output of a fit."""
    command = [*words, sys.executable, "-m", "lightning_app", "fit", *options]
    environ = environ | {"PYTHONPATH": str(REPOSITORY), "https_proxy": NOWHERE, "no_proxy": ""}
    done = subprocess.run(
        command, env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit(60)
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("launcher", ["openmpi5", "srun"])
def test_what_all_ranks_find_wrong_is_said_once(launcher: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    options = ["--config", "configs/quickstart.yaml", "--trainer.strategy", "cpu"]
    code, said = printed(words(launcher, request), options, environment(launcher, request), tmp_path)
    assert code != 0
    assert said.count("error: rank") == 1
    assert f"error: rank 0 on {HOST}: --trainer.strategy cpu is one process, but" in said


def test_nodes_without_data_and_network_send_the_user_to_a_login_node(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options = ["--config", "configs/cifar10.yaml"]
    code, said = printed(words("srun", request), options, environment("srun", request), tmp_path)
    assert code != 0
    assert said.count("error: rank") == 1
    assert f"error: rank 0 on {HOST}: CIFAR-10 is not in data and could not be downloaded" in said
    assert "with the same options on a login node" in said
    assert "did not report" not in said


@pytest.mark.soak
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("fault", ["raise", "hang", "data", "kill", "absent"])
@pytest.mark.parametrize("launcher", ["openmpi5", "openmpi4", "mpich", "srun", "torchrun", "local"])
def test_the_job_ends_with_the_first_error_every_time(
    launcher: str, fault: str, rank: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if launcher == "local" and rank == 0 and fault in ("data", "absent"):
        pytest.skip("rank 0 starts the others, so there is no job without it")
    for attempt in range(ROUNDS):
        (folder := tmp_path / str(attempt)).mkdir()
        failed = fail(folder, words(launcher, request), fault, rank, environment(launcher, request))
        if (launcher, fault) == ("mpich", "kill"):  # MPICH kills the others, usually before they can print
            assert failed.code != 0
            assert failed.orphans == []
            assert failed.seconds < limit(SECONDS)
            assert any(re.fullmatch(rf"=   PID \d+ RUNNING AT {HOST}", line) for line in failed.lines)
            assert "=   EXIT CODE: 9" in failed.lines
        else:
            assert_failed_well(failed, fault, rank)
