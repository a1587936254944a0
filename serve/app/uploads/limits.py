"""Limits on uploads: on one picture, on one client, and on all. `store` and `middleware` enforce them."""

from __future__ import annotations

from dataclasses import dataclass

TOTAL, SHARE = 25, 8  # disk space in uploads of the largest size: of all clients, and of one


@dataclass(frozen=True)
class Limits:
    """Limits on one picture.

    Attributes:
        megabytes: size of the file.
        megapixels: size of the picture; decoding takes up to 20 bytes per pixel, if it is transparent.
    """

    megabytes: float = 20
    megapixels: float = 40

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)
