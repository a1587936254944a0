"""A measured program ends with bench, however bench ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_app.bench.child import run_module
from lightning_app.errors import UsageError

WAITS = "import os, time; print(os.getpid(), flush=True, file=open('{pipe}', 'w')); time.sleep(600)"
PARENT = "from lightning_app.bench.child import *\nwith signals_raise(): run_module(['waits'], 600)"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules children can run."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")
    return tmp_path


def test_the_last_line_is_json(modules: Path) -> None:
    (modules / "says.py").write_text("import sys; print('loading'); print('{\"images\": ' + sys.argv[1] + '}')")
    assert run_module(["says", "3.5"], timeout=60) == {"images": 3.5}


def test_one_that_fails_is_an_error_and_one_that_takes_too_long_is_none(modules: Path) -> None:
    (modules / "fails.py").write_text("raise SystemExit(7)")
    (modules / "slow.py").write_text("import time; time.sleep(600)")
    with pytest.raises(UsageError, match="fails failed with exit code 7"):
        run_module(["fails"], timeout=60)
    assert run_module(["slow"], timeout=0.2) is None


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a killed parent")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, pytest.param(signal.SIGKILL, marks=LINUX)]
)
def test_the_child_ends_when_its_parent_is_ended(number: signal.Signals, modules: Path) -> None:
    os.mkfifo(pipe := modules / "pipe")
    (modules / "waits.py").write_text(WAITS.format(pipe=pipe))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    ) as parent:
        child = os.pidfd_open(int(pipe.read_text()))
        parent.send_signal(number)
        parent.wait(30)
    assert select.select([child], [], [], 30)[0] == [child]  # readable once it has ended
