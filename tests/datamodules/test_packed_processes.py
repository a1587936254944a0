"""The packed cache is complete or absent: killed builders, two at once, a full or read-only disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("packing_process.py")
REPOSITORY = Path(__file__).parents[2]
BIG = ("--rows", "1000", "--stored_size", "32")  # 3 MB

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts packing processes; those still there at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def run(cache_dir: Path, *options: str) -> subprocess.Popen[str]:
        paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, str(PROGRAM), str(cache_dir), *options]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def read_until(process: subprocess.Popen[str], marker: str) -> None:
    """Read a process's lines up to one that contains the marker."""
    assert process.stdout is not None
    lines = list[str]()
    for line in process.stdout:
        lines.append(line)
        if marker in line:
            return
    pytest.fail(f"{marker!r} is not in {lines}")


def rest_of(process: subprocess.Popen[str]) -> list[str]:
    """Let a process run to its end: the lines that nobody has read yet.

    Not by communicate(): it reads the pipe itself, and loses what iterating over stdout has read ahead.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    lines = process.stdout.read().splitlines()
    process.wait()
    return lines


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Let a process run to its end: exit status and last line."""
    lines = rest_of(process)
    return process.returncode, lines[-1]


def names(cache_dir: Path) -> list[str]:
    """The contents of the cache directory, except locks."""
    return sorted(path.name for path in cache_dir.iterdir() if path.suffix != ".lock")


def test_killed_build_leaves_nothing_finished_and_the_next_one_clears_up(start: Start, tmp_path: Path) -> None:
    killed = start(tmp_path, "--stop")
    read_until(killed, "stopped half-way")
    killed.kill()
    killed.wait()
    (leftover,) = names(tmp_path)
    assert leftover.endswith(".tmp")
    status, _ = finish(start(tmp_path))
    assert status == 0
    assert names(tmp_path) == [leftover.split(".")[0]]


def test_second_builder_waits_and_both_open_the_one_cache(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path, "--stop")
    read_until(first, "stopped half-way")
    second = start(tmp_path)
    read_until(second, "waiting for it")
    (unfinished,) = (path.stat().st_ino for path in tmp_path.glob("*.tmp"))
    built, opened = rest_of(first), rest_of(second)
    # One line each, the checksum: the second packed nothing. And the cache is the first one's folder, renamed.
    assert (opened, len(built)) == (built, 1)
    assert (first.returncode, second.returncode) == (0, 0)
    assert [path.stat().st_ino for path in tmp_path.iterdir() if path.is_dir()] == [unfinished]


def test_builder_that_waits_for_a_killed_one_takes_over(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path, "--stop")
    read_until(first, "stopped half-way")
    second = start(tmp_path)
    read_until(second, "waiting for it")
    first.kill()
    assert finish(second)[0] == 0
    assert [name.endswith(".tmp") for name in names(tmp_path)] == [False]


def test_without_locks_both_build_and_one_cache_stays(start: Start, tmp_path: Path) -> None:
    both = [start(tmp_path, "--stop", "--no_locks") for _ in range(2)]
    for process in both:
        read_until(process, "stopped half-way")
    assert len(names(tmp_path)) == 2
    results = [finish(process) for process in both]
    assert results[0] == results[1]
    assert results[0][0] == 0
    assert [name.endswith(".tmp") for name in names(tmp_path)] == [False]


def test_file_that_may_not_grow_is_a_data_error_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    status, message = finish(start(tmp_path, *BIG, "--largest_file", "100000"))
    assert (status, names(tmp_path)) == (1, [])
    assert message.startswith(f"DataError: cannot write the packed cache to {tmp_path} (File too large); it needs 3 MB")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot take space in advance")
def test_missing_space_is_noticed_before_the_first_image_is_decoded(start: Start, tmp_path: Path) -> None:
    output = rest_of(start(tmp_path, "--rows", "400", "--stored_size", "32", "--largest_file", "1000000", "--stop"))
    assert "File too large" in output[-1]
    assert "stopped" not in str(output)


def test_full_disk_is_a_data_error_and_leaves_nothing(start: Start, mount: Callable[[str], Path]) -> None:
    cache_dir = mount("size=1m")
    status, message = finish(start(cache_dir, *BIG))
    assert (status, names(cache_dir)) == (1, [])
    assert "(No space left on device: 1 MB are free); it needs 3 MB. Free some space, or set data.cache_dir" in message


def test_read_only_directory_is_a_data_error(start: Start, read_only: Path) -> None:
    status, message = finish(start(read_only))
    assert status == 1
    assert message.startswith(f"DataError: cannot write to {read_only} (")
    assert message.endswith("set data.cache_dir to another place.")


def test_finished_cache_on_a_read_only_disk_is_opened(start: Start, mount: Callable[[str], Path]) -> None:
    cache_dir = mount("size=1m")
    built = finish(start(cache_dir))
    subprocess.run(["mount", "-o", "remount,ro", str(cache_dir)], check=True)
    assert finish(start(cache_dir)) == built
