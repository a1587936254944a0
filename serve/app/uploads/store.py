"""Uploads on disk, with a limit for all clients and one for each; the oldest are deleted first."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lightning_app.errors import UserError
from serve.app.uploads.limits import SHARE, TOTAL, Limits

SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp", b"BM": ".bmp"}  # by a file's first bytes


class NoRoom(UserError):
    """Too much is being uploaded; the message is for the client."""


@dataclass
class Upload:
    """A file, or space that is reserved for one."""

    client: str
    size: int
    path: Path | None = None


class UploadStore:
    """The files that visitors have sent.

    Args:
        folder: only for uploads.
        limits: on one upload.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.total, self.share = TOTAL * limits.bytes, SHARE * limits.bytes
        self.least = limits.bytes // 40  # smaller files count as this many bytes, so that there are at most a thousand
        self.uploads: list[Upload] = []  # the oldest first

    @contextmanager
    def room(self, client: str, size: int) -> Iterator[Upload]:
        """Reserve space for an upload; without a file added, it is free again at the end of the block.

        Raises:
            NoRoom: unfinished uploads leave too little space, even if all finished ones are deleted.
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
        """Write a file into its reserved space, under a name that nobody can guess."""
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
        with suppress(OSError):  # already deleted
            path.unlink()
            path.parent.rmdir()
