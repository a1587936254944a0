"""Freed memory stays in the process under glibc, and nothing is touched elsewhere."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_app.trainer.malloc import keep_freed_memory

REPOSITORY = Path(__file__).parents[3]
# glibc 2.36 still grows the heap a few times before aligned blocks are reused (sourceware.org bug 14581).
# Huge pages would hide most faults, so they are switched off (prctl 41 is PR_SET_THP_DISABLE).
COUNT_FAULTS = """\
import ctypes, resource, torch
from lightning_app.trainer.malloc import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(1)
without = faults(4)
keep_freed_memory()
faults(16)
print(without, faults(4), resource.getpagesize())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the policy is glibc's")
def test_blocks_of_64_mb_are_faulted_in_every_time_without_the_policy_and_no_more_with_it() -> None:
    command = [sys.executable, "-c", COUNT_FAULTS]
    output = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    without, with_policy, page = map(int, output.split())
    pages = 4 * (64 << 20) // page
    assert without >= pages
    assert with_policy < pages // 1000


@pytest.mark.parametrize(("answers", "said"), [((1, 1), "are kept"), ((1, 0), "refused"), ((0, 1), "refused")])
def test_it_is_said_whether_glibc_does_both(
    answers: tuple[int, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = list(answers)
    library = SimpleNamespace(mallopt=lambda option, value: left.pop(0))
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert said in keep_freed_memory()


def test_under_another_c_library_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def untouchable(name: str | None) -> None:
        raise AssertionError("the C library was opened")

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", untouchable)
    assert keep_freed_memory() == "memory: left to the C library (not glibc)"
