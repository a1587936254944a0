"""A checkpoint file is read as written, or not at all."""

from __future__ import annotations

import io
import itertools
import logging
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from equality import differences

from lightning_app import files
from lightning_app.checkpointing.checkpoint_io import (
    IN_MEMORY,
    OURS,
    CheckpointError,
    ChecksummedIO,
    DamagedError,
    keep_newest,
    read_checkpoint,
    step_file,
    write_checkpoint,
)

STATE = {
    "global_step": 12,
    "state_dict": {"weights": torch.arange(5000.0), "count": torch.tensor(7)},
    "optimizer_states": [
        {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]}
    ],
}
MUTATIONS = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A written checkpoint."""
    file = step_file(tmp_path, 12)
    write_checkpoint(STATE, file)
    return file


def test_what_was_written_is_read(path: Path) -> None:
    assert list(differences(read_checkpoint(path), STATE)) == []
    assert [file.name for file in path.parent.iterdir()] == ["step-00000012.ckpt"]


def test_torch_reads_the_file_as_it_is(path: Path) -> None:
    assert list(differences(torch.load(path, weights_only=True), STATE)) == []


def truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def bit_flipped(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def zeroed(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    stop = draw.randrange(start, len(content)) + 1
    return content[:start] + bytes(stop - start) + content[stop:]


def swapped(content: bytes, draw: random.Random) -> bytes:
    """Two blocks change places, as on a disk that mixed up its sectors."""
    first, second = sorted(draw.sample(range(0, len(content) - 512, 512), 2))
    block, other = content[first : first + 512], content[second : second + 512]
    return content[:first] + other + content[first + 512 : second] + block + content[second + 512 :]


def test_no_mutation_of_a_file_is_ever_loaded(path: Path) -> None:
    draw, content = random.Random(0), path.read_bytes()
    tried = 0
    for mutate in itertools.cycle((truncated, bit_flipped, zeroed, swapped)):
        mutated = mutate(content, draw)
        if mutated == content:  # zeros made zero, equal blocks exchanged
            continue
        path.write_bytes(mutated)
        with pytest.raises(DamagedError, match=r"truncated|damaged"):
            read_checkpoint(path)
        tried += 1
        if tried == MUTATIONS:
            return


def test_a_checkpoint_under_the_name_of_another_step_is_refused(path: Path) -> None:
    other = path.rename(step_file(path.parent, 13))
    with pytest.raises(CheckpointError, match="is from step 12; was it renamed"):
        read_checkpoint(other)


@pytest.mark.parametrize("what", ["empty", "directory", "missing", "loop", "torch's own", "foreign"])
def test_what_is_no_checkpoint_is_one_line(what: str, tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.ckpt"
    if what == "empty":
        path.touch()
    elif what == "directory":
        path.mkdir()
    elif what == "loop":  # unreadable to root too
        path.symlink_to(path)
    elif what == "torch's own":
        torch.save(STATE, path)
    elif what == "foreign":
        write_checkpoint({"global_step": 1, "object": Path("anything")}, path)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)
    damaged = what in ("empty", "directory", "torch's own")
    assert isinstance(error.value, DamagedError) is damaged


class Stop(BaseException):
    """A kill, as far as a test can simulate one inside its own process."""


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_an_end_at_any_moment_of_writing_leaves_the_older_file(
    call: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*args: Any) -> None:
        raise Stop

    class Cut(io.FileIO):
        def writelines(self, parts: Any) -> None:
            self.write(parts[0][:1000])
            raise Stop

    if call == "write":
        monkeypatch.setattr(files, "open", Cut, raising=False)
    else:
        monkeypatch.setattr(os, call, end)
    with pytest.raises(Stop):
        write_checkpoint(STATE | {"more": 1}, path)
    assert list(differences(read_checkpoint(path), STATE)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder]).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_leaves_the_older_file_and_no_part_of_the_newer(small_disk: Path) -> None:
    path = step_file(small_disk, 12)
    write_checkpoint(STATE, path)
    io = ChecksummedIO()
    io.save_checkpoint(STATE | {"large": torch.zeros(1 << 19)}, path)
    assert io.error is not None
    assert io.error.strerror == "No space left on device"
    assert [file.name for file in small_disk.iterdir()] == [path.name]
    assert list(differences(read_checkpoint(path), STATE)) == []
    io.save_checkpoint(STATE, path)
    assert io.error is None


def test_the_best_waits_in_memory_as_it_was_and_is_written_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    io, best, last = ChecksummedIO(), step_file(tmp_path, 12), step_file(tmp_path, 13)
    changing: dict[str, Any] = {"global_step": 12, "weights": torch.zeros(3), "rates": [1.0], "nested": {"of": 1}}
    io.save_checkpoint(changing, best, IN_MEMORY)
    assert list(tmp_path.iterdir()) == []
    changing["weights"] += 1
    changing["rates"].append(2.0)
    changing["nested"]["of"] = 2
    replaced: list[Path] = []
    monkeypatch.setattr(os, "replace", lambda file, path: (replaced.append(path), os.rename(file, path)))
    io.save_checkpoint(changing | {"global_step": 13}, last)
    assert replaced == [best, last]
    expected = {"global_step": 12, "weights": torch.zeros(3), "rates": [1.0], "nested": {"of": 1}}
    assert list(differences(read_checkpoint(best), expected)) == []
    assert io.best is None


def test_a_best_that_could_not_be_written_is_tried_again(small_disk: Path) -> None:
    io, best, last = ChecksummedIO(), step_file(small_disk, 12), step_file(small_disk, 13)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1020 << 10))
    io.save_checkpoint(STATE, best, IN_MEMORY)
    io.save_checkpoint(STATE | {"global_step": 13}, last)
    assert io.error is not None
    ballast.unlink()
    io.save_checkpoint(STATE | {"global_step": 13}, last)
    assert io.error is None
    assert (read_checkpoint(best)["global_step"], read_checkpoint(last)["global_step"]) == (12, 13)


def test_a_folder_that_vanished_is_made_again(tmp_path: Path) -> None:
    path = step_file(tmp_path / "gone" / "checkpoints", 12)
    write_checkpoint(STATE, path)
    assert list(differences(read_checkpoint(path), STATE)) == []


def test_the_link_to_the_best_never_names_a_file_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(path: Path, missing_ok: bool = False) -> None:
        if not missing_ok:
            raise Stop
        unlink(path, missing_ok)

    for step in (1, 2):
        write_checkpoint({"global_step": step}, step_file(tmp_path, step))
        keep_newest(tmp_path, 1, best=step_file(tmp_path, step).name)
    write_checkpoint({"global_step": 3}, step_file(tmp_path, 3))
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", end)
    with pytest.raises(Stop):
        keep_newest(tmp_path, 1, best="step-00000003.ckpt")
    assert read_checkpoint(tmp_path / "best.ckpt")["global_step"] == 3


def test_of_the_files_of_best_checkpoints_only_the_best_is_kept_and_linked(tmp_path: Path) -> None:
    names = ["validated-00000003.ckpt", "validated-00000005.ckpt", "step-00000004.ckpt", "step-00000006.ckpt"]
    for name in names:
        (tmp_path / name).touch()
    keep_newest(tmp_path, 1, best="validated-00000005.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.ckpt",
        "step-00000006.ckpt",
        "validated-00000005.ckpt",
    ]
    assert (tmp_path / "best.ckpt").readlink().name == "validated-00000005.ckpt"


def test_a_checkpoint_of_a_users_callback_that_cannot_be_written_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("lightning_app"), "propagate", True)
    (tmp_path / "file").touch()
    target = tmp_path / "file/mine.ckpt"
    ChecksummedIO().save_checkpoint(STATE, target)
    assert f"checkpoint: {target} could not be written" in caplog.text
    caplog.clear()
    io = ChecksummedIO()
    io.save_checkpoint(STATE, target, OURS)
    assert io.error is not None
    assert caplog.text == ""


def test_the_best_that_waits_in_memory_is_written_when_it_is_asked_for_and_once(tmp_path: Path) -> None:
    keeper, best = ChecksummedIO(), tmp_path / "best.ckpt"
    keeper.save_checkpoint(STATE, best, storage_options=IN_MEMORY)
    assert not best.exists()
    keeper.write_best()
    assert list(differences(read_checkpoint(best), STATE)) == []
    best.unlink()
    keeper.write_best()
    assert not best.exists()
