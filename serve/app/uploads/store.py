"""Uploads on the disk: how much they may take, of all clients and of one; the oldest go first."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lightning_app.errors import UserError
from serve.app.uploads.limits import SHARE, TOTAL, Limits

SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp", b"BM": ".bmp"}  # by how a file begins


class NoRoom(UserError):
    """Too much is being uploaded; the message is for the client."""


@dataclass
class Upload:
    """A file, or room that is held for one."""

    client: str
    size: int
    path: Path | None = None


class UploadStore:
    """The files that visitors have sent.

    Args:
        folder: theirs alone.
        limits: on one upload.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.total, self.share = TOTAL * limits.bytes, SHARE * limits.bytes
        self.least = limits.bytes // 40  # what a small file counts for, so that there are at most a thousand
        self.uploads: list[Upload] = []  # the oldest first

    @contextmanager
    def room(self, client: str, size: int) -> Iterator[Upload]:
        """Hold room for an upload under way; it is free again where no file was added.

        Raises:
            NoRoom: so much is under way that deleting what is finished would not be enough.
        """
        self._forget_deleted()
        size = max(size, self.least)
        own = [each for each in self.uploads if each.client == client]
        self._make_room(own, self.share - size)
        self._make_room(self.uploads, self.total - size)
        upload = Upload(client, size)
        self.uploads.append(upload)
        try:
            yield upload
        finally:
            if upload.path is None:
                self.uploads.remove(upload)

    def add(self, upload: Upload, content: bytes) -> Path:
        """Write a file into the room that is held for it, under a name that nobody can guess."""
        suffix = next((suffix for start, suffix in SUFFIXES.items() if content.startswith(start)), "")
        path = self.folder / secrets.token_hex(16) / f"picture{suffix}"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        upload.path, upload.size = path, max(len(content), self.least)
        return path

    def _make_room(self, among: list[Upload], most: int) -> None:
        for oldest in [each for each in among if each.path is not None]:
            if sum(each.size for each in among) <= most:
                return
            delete(oldest.path)
            self.uploads.remove(oldest)
            if among is not self.uploads:
                among.remove(oldest)
        if sum(each.size for each in among) > most:
            raise NoRoom("Too much is being uploaded at once; try again in a minute.")

    def _forget_deleted(self) -> None:
        self.uploads = [each for each in self.uploads if each.path is None or each.path.exists()]


def delete(path: Path | None) -> None:
    """Delete an upload and its folder."""
    if path is not None:
        with suppress(OSError):  # somebody was quicker
            path.unlink()
            path.parent.rmdir()
