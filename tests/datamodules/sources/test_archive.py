"""A directory, a .zip and a .tar give the same files; a damaged one says so."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.sources.archive import open_files

FILES = {"a/1.txt": b"one", "a/2.txt": b"", "b/c/3.txt": bytes(range(256)) * 40}
FOLDERS = ["a/", "b/", "b/c/", "b/empty/"]
KINDS = ["directory", "zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]
TAR_MODES = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[[str], Path]:
    """FILES and FOLDERS as a directory or an archive of the kind."""

    def make(kind: str) -> Path:
        source, path = tmp_path / "source", tmp_path / f"tree.{kind}"
        for folder in FOLDERS:
            (source / folder).mkdir(parents=True)
        for name, data in FILES.items():
            (source / name).write_bytes(data)
        if kind == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in [*FOLDERS, *FILES]:
                    archive.write(source / name, name)
        elif kind in TAR_MODES:
            with tarfile.open(path, TAR_MODES[kind]) as archive:  # type: ignore[call-overload]  # the mode is no literal
                archive.add(source, ".")
        return source if kind == "directory" else path

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_files_and_folders_of_all_kinds_alike(make_tree: Callable[[str], Path], kind: str) -> None:
    assert set(open_files(make_tree(kind)).names()) - {"./"} == {*FILES, *FOLDERS}


@pytest.mark.parametrize("kind", KINDS)
def test_wanted_files_come_with_their_bytes_and_no_others(make_tree: Callable[[str], Path], kind: str) -> None:
    files = open_files(make_tree(kind))
    assert dict(files.read(FILES)) == FILES
    assert dict(files.read(["b/c/3.txt"])) == {"b/c/3.txt": FILES["b/c/3.txt"]}


def test_hidden_files_and_folders_of_a_directory_are_left_out(make_tree: Callable[[str], Path]) -> None:
    root = make_tree("directory")
    (root / ".cache").mkdir()
    for name in (".cache/1.txt", "a/.DS_Store"):
        (root / name).write_text("hidden")
    assert set(open_files(root).names()) == {*FILES, *FOLDERS}


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprint_stays_while_nothing_changes(make_tree: Callable[[str], Path], kind: str) -> None:
    root = make_tree(kind)
    assert open_files(root).fingerprint() == open_files(root).fingerprint()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_fingerprint_of_an_archive_follows_size_and_time(make_tree: Callable[[str], Path], kind: str) -> None:
    path = make_tree(kind)
    prints = [open_files(path).fingerprint()]
    os.utime(path, ns=(1, 1))
    prints.append(open_files(path).fingerprint())
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(1, 1))
    prints.append(open_files(path).fingerprint())
    assert len({str(each) for each in prints}) == 3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "directory"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.8])
def test_truncated_archive_is_an_error_that_names_it(make_tree: Callable[[str], Path], kind: str, share: float) -> None:
    path = make_tree(kind)
    with path.open("r+b") as file:
        file.truncate(int(whole_size(path, kind) * share))
    files = open_files(path)
    with pytest.raises(DataError, match=rf"{path.name} is damaged or not complete"):
        dict(files.read(files.names()))


def whole_size(path: Path, kind: str) -> int:
    """Bytes of an archive without the zeros that fill up a plain .tar after its two zero blocks."""
    return len(path.read_bytes().rstrip(b"\0")) if kind == "tar" else path.stat().st_size


@pytest.mark.parametrize("cut", [0, 100])
def test_tar_cut_between_or_within_headers_is_not_taken_for_its_end(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("1.txt", "2.txt"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    with path.open("r+b") as file:
        file.truncate(1024 + cut)
    with pytest.raises(DataError, match=r"cut\.tar is damaged or not complete"):
        open_files(path).names()


def test_overwritten_bytes_in_a_zip_are_an_error_that_names_it(make_tree: Callable[[str], Path]) -> None:
    path = make_tree("zip")
    with zipfile.ZipFile(path) as archive:
        overwrite(path, archive.getinfo("b/c/3.txt").header_offset + 60)
    with pytest.raises(DataError, match=r"tree\.zip is damaged"):
        dict(open_files(path).read(FILES))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_overwritten_bytes_are_an_error_whatever_compressed_them(method: int, tmp_path: Path) -> None:
    path = tmp_path / "tree.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.txt", os.urandom(500))
    overwrite(path, 60)
    with pytest.raises(DataError, match=r"tree\.zip is damaged"):
        dict(open_files(path).read(["a.txt"]))


def test_overwritten_header_in_a_tar_is_an_error_that_names_it(make_tree: Callable[[str], Path]) -> None:
    path = make_tree("tar")
    with tarfile.open(path) as archive:
        overwrite(path, archive.getmember("./b/c/3.txt").offset)
    with pytest.raises(DataError, match=r"tree\.tar is damaged"):
        open_files(path).names()


def overwrite(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"\xff" * 8)


def test_encrypted_zip_is_an_error_that_names_it(make_tree: Callable[[str], Path]) -> None:
    path = make_tree("zip")
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = -1
        while (position := data.find(signature, position + 1)) >= 0:
            data[position + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"tree\.zip is damaged or not complete.*encrypted"):
        dict(open_files(path).read(FILES))


def test_link_in_a_tar_is_named_and_has_no_bytes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.LNKTYPE, "elsewhere.png"
        archive.addfile(link)
    files = open_files(tmp_path / "links.tar")
    assert dict(files.read(files.names())) == {"link.png": b""}


def test_file_that_vanished_is_an_error_that_names_it(make_tree: Callable[[str], Path]) -> None:
    root = make_tree("directory")
    files = open_files(root)
    (root / "a/1.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read .*a/1\.txt \(No such file or directory\)"):
        dict(files.read(["a/1.txt"]))


def test_nothing_there_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data at .*missing.*set data\.root"):
        open_files(tmp_path / "missing")


def test_file_that_is_no_archive_is_an_error_that_lists_the_suffixes(tmp_path: Path) -> None:
    (tmp_path / "images.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match=r"images\.rar is neither a directory nor an archive ending in \.zip or \.tar"):
        open_files(tmp_path / "images.rar")
