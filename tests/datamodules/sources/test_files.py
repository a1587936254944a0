"""A directory, a .zip and a .tar give the same files; a damaged one says so."""

from __future__ import annotations

import errno
import io
import lzma
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.sources.files import Files, open_files

FILES = {"a/1.txt": b"one", "a/2.txt": b"", "b/c/3.txt": bytes(range(256)) * 40}
FOLDERS = ["a/", "b/", "b/c/", "b/empty/"]
TAR_MODES = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
KINDS = ["directory", "zip", *TAR_MODES]


def contents(files: Files, names: Iterable[str]) -> dict[str, bytes]:
    """The bytes of files by name."""
    return {name: load() for name, load in files.loads(names)}


def names(files: Files) -> list[str]:
    """Of all files and folders."""
    return [entry.name for entry in files.entries()]


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
    assert set(names(open_files(make_tree(kind)))) - {"./"} == {*FILES, *FOLDERS}


@pytest.mark.parametrize("kind", KINDS)
def test_wanted_files_come_with_their_bytes_and_no_others(make_tree: Callable[[str], Path], kind: str) -> None:
    files = open_files(make_tree(kind))
    assert contents(files, FILES) == FILES
    assert contents(files, ["b/c/3.txt"]) == {"b/c/3.txt": FILES["b/c/3.txt"]}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_fingerprint_of_an_archive_follows_size_and_time(make_tree: Callable[[str], Path], kind: str) -> None:
    path = make_tree(kind)
    prints = [open_files(path).fingerprint(list)]
    os.utime(path, ns=(1, 1))
    prints.append(open_files(path).fingerprint(list))
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(1, 1))
    prints.append(open_files(path).fingerprint(list))
    assert len({str(each) for each in prints}) == 3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "directory"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.8])
def test_truncated_archive_is_an_error_that_names_it(make_tree: Callable[[str], Path], kind: str, share: float) -> None:
    path = make_tree(kind)
    with path.open("r+b") as file:
        file.truncate(int(whole_size(path, kind) * share))
    files = open_files(path)
    with pytest.raises(DataError, match=rf"{path.name} is damaged or incomplete"):
        contents(files, names(files))


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
    with pytest.raises(DataError, match=r"cut\.tar is damaged or incomplete"):
        open_files(path).entries()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_overwritten_bytes_cost_the_one_member_whatever_compressed_it(method: int, tmp_path: Path) -> None:
    path, data = tmp_path / "tree.zip", {"a.txt": os.urandom(500), "b.txt": os.urandom(500)}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in data.items():
            archive.writestr(name, content)
    overwrite(path, 60)
    loads = dict(open_files(path).loads(data))
    assert loads["b.txt"]() == data["b.txt"]
    with pytest.raises((zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)):
        loads["a.txt"]()


def test_overwritten_header_in_a_tar_is_an_error_that_names_it(make_tree: Callable[[str], Path]) -> None:
    path = make_tree("tar")
    with tarfile.open(path) as archive:
        overwrite(path, archive.getmember("./b/c/3.txt").offset)
    with pytest.raises(DataError, match=r"tree\.tar is damaged or incomplete \((bad|invalid)\b"):
        open_files(path).entries()


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
    with pytest.raises(DataError, match=r"tree\.zip is encrypted: unpack it"):
        open_files(path).entries()


@pytest.mark.parametrize(("method", "said"), [(9, "Deflate64"), (93, "Zstandard"), (77, "method 77")])
def test_a_compression_that_zipfile_does_not_know_is_no_damage(
    method: int, said: str, make_tree: Callable[[str], Path]
) -> None:
    if method == 93 and sys.version_info >= (3, 14):
        pytest.skip("this Python reads it")
    path = make_tree("zip")
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        position = -1
        while (position := data.find(signature, position + 1)) >= 0:
            data[position + place] = method
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"tree\.zip is compressed with {said}, which .*: unpack it"):
        open_files(path).entries()


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_a_link_in_a_tar_has_the_bytes_of_its_target(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        target = tarfile.TarInfo("./a/one.png")
        target.size = 3
        archive.addfile(target, io.BytesIO(b"abc"))
        for name, hard, symbolic in (
            ("./b/two.png", "./a/one.png", "../a/one.png"),
            ("./b/3.png", "./b/two.png", "two.png"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, hard if kind == tarfile.LNKTYPE else symbolic
            archive.addfile(link)
    files = open_files(tmp_path / "links.tar")
    assert contents(files, ["a/one.png", "b/two.png", "b/3.png"]) == dict.fromkeys(
        ["a/one.png", "b/two.png", "b/3.png"], b"abc"
    )


def test_a_file_that_was_appended_in_place_of_a_link_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        link, mended = tarfile.TarInfo("a.png"), tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "gone.png"
        archive.addfile(link)
        mended.size = 3
        archive.addfile(mended, io.BytesIO(b"abc"))
    files = open_files(tmp_path / "links.tar")
    assert [entry.problem for entry in files.entries()] == [""]
    assert contents(files, ["a.png"]) == {"a.png": b"abc"}


def test_a_link_out_of_a_tar_says_so(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.LNKTYPE, "elsewhere.png"
        archive.addfile(link)
    assert [tuple(entry) for entry in open_files(tmp_path / "links.tar").entries()] == [
        ("link.png", 0, 0, "a link to elsewhere.png, which is not in the archive")
    ]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_members_with_one_name_the_last_counts(kind: str, make_tree: Callable[[str], Path]) -> None:
    path = make_tree(kind)
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as zipped, pytest.warns(UserWarning, match="Duplicate name"):
            zipped.writestr("a/1.txt", b"mended")
    else:
        with tarfile.open(path, "a") as archive:
            member = tarfile.TarInfo("./a/1.txt")
            member.size = 6
            archive.addfile(member, io.BytesIO(b"mended"))
    files = open_files(path)
    assert names(files).count("a/1.txt") == 1
    assert [load() for _, load in files.loads(["a/1.txt"])] == [b"mended"]


def test_a_file_that_vanished_is_its_own_error(make_tree: Callable[[str], Path]) -> None:
    root = make_tree("directory")
    (root / "a/1.txt").unlink()
    loads = dict(open_files(root).loads(["a/1.txt", "b/c/3.txt"]))
    assert loads["b/c/3.txt"]() == FILES["b/c/3.txt"]
    with pytest.raises(FileNotFoundError):
        loads["a/1.txt"]()


def test_links_to_folders_are_followed_but_not_in_a_circle(make_tree: Callable[[str], Path], tmp_path: Path) -> None:
    root = make_tree("directory")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/4.txt").write_text("four")
    (root / "a/more").symlink_to(tmp_path / "store")
    (root / "b/up").symlink_to(root)
    found = {entry.name: entry.problem for entry in open_files(root).entries()}
    assert set(found) == {*FILES, *FOLDERS, "a/more/", "a/more/4.txt", "b/up/"}
    assert found["b/up/"] == "a link to a folder around it"


def test_what_cannot_be_read_is_listed_with_the_reason(make_tree: Callable[[str], Path]) -> None:
    root = make_tree("directory")
    (root / "a/gone.png").symlink_to("/nowhere/gone.png")
    os.mkfifo(root / "a/pipe.png")
    (root / "a/folder.png").mkdir()
    found = {entry.name: entry.problem for entry in open_files(root).entries()}
    assert found["a/gone.png"] == "No such file or directory"
    assert found["a/pipe.png"] == "not a regular file"
    assert found["a/folder.png/"] == ""


def test_a_folder_that_cannot_be_listed_says_so(
    make_tree: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree("directory")
    real = os.scandir

    def scandir(path: Path) -> object:
        if path == root / "b":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    found = {entry.name: entry.problem for entry in open_files(root).entries()}
    assert found == {"a/": "", "a/1.txt": "", "a/2.txt": "", "b/": "Permission denied"}


@pytest.mark.parametrize(
    ("encoding", "option"), [("utf-8", None), ("shift_jis", "shift_jis"), ("gbk", "gbk"), ("cp437", None)]
)
def test_names_of_a_zip_in_other_encodings(
    encoding: str, option: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = {"cp437": "caf\u00e9/1.txt"}.get(encoding, "\u8868/1.txt")  # in Shift-JIS its second byte is a backslash
    with zipfile.ZipFile(tmp_path / "names.zip", "w") as archive:
        archive.writestr("x" * len(name.encode(encoding)), b"one")
    data = (tmp_path / "names.zip").read_bytes().replace(b"x" * len(name.encode(encoding)), name.encode(encoding))
    (tmp_path / "names.zip").write_bytes(data)
    files = open_files(tmp_path / "names.zip", option)
    assert contents(files, [name]) == {name: b"one"}
    assert ("1 names in" in caplog.text) == (encoding == "cp437")  # which was only guessed


def test_names_that_are_not_in_the_said_encoding_are_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "names.zip", "w") as archive:
        archive.writestr("xx.txt", b"one")
    path = tmp_path / "names.zip"
    path.write_bytes(path.read_bytes().replace(b"xx", b"\xff\xff"))
    with pytest.raises(DataError, match=r"data\.names_encoding is shift_jis, but not all names in .*names\.zip are"):
        open_files(path, "shift_jis").entries()


def test_backslashes_of_a_zip_are_slashes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        archive.writestr("train\\cat\\1.txt", b"one")
    assert names(open_files(tmp_path / "windows.zip")) == ["train/cat/1.txt"]


def test_a_tar_compressed_by_zstandard_is_read(tmp_path: Path, make_tree: Callable[[str], Path]) -> None:
    zstandard = pytest.importorskip("zstandard", reason="pip install zstandard")
    path = tmp_path / "tree.tar.zst"
    path.write_bytes(zstandard.compress(make_tree("tar").read_bytes()))
    assert contents(open_files(path), FILES) == FILES
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"tree\.tar\.zst is damaged or incomplete"):
        open_files(path).entries()


def test_without_a_reader_of_zstandard_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree.tar.zst").write_bytes(b"")
    for module in ("compression", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"tree\.tar\.zst needs Python 3\.14 or `pip install zstandard`"):
        open_files(tmp_path / "tree.tar.zst").entries()


def test_other_bytes_of_one_size_and_time_change_the_fingerprint(make_tree: Callable[[str], Path]) -> None:
    path = make_tree("zip")
    before, times = open_files(path).fingerprint(list), path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert open_files(path).fingerprint(list) != before


def test_nothing_there_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data at .*missing.*set data\.root"):
        open_files(tmp_path / "missing")


def test_file_that_is_no_archive_is_an_error_that_lists_the_suffixes(tmp_path: Path) -> None:
    (tmp_path / "images.doc").write_bytes(b"Word")
    with pytest.raises(DataError, match=r"images\.doc is neither a directory nor an archive ending in \.zip, \.tar"):
        open_files(tmp_path / "images.doc")


@pytest.mark.parametrize(("suffix", "command"), [(".7z", "7z x"), (".rar", "unrar x")])
def test_an_archive_of_another_kind_is_to_be_unpacked_first(suffix: str, command: str, tmp_path: Path) -> None:
    (tmp_path / f"images{suffix}").write_bytes(b"")
    with pytest.raises(DataError, match=rf"{suffix} is not read: unpack it \({command} images"):
        open_files(tmp_path / f"images{suffix}")
