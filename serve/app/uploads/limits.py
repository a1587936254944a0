"""What uploads may cost: one picture, those of one client, and those of all. `store` and `middleware` apply it."""

from __future__ import annotations

from dataclasses import dataclass

TOTAL, SHARE = 25, 8  # in uploads of the largest size: of all clients, and of one


@dataclass(frozen=True)
class Limits:
    """What a picture may cost.

    Attributes:
        megabytes: of the file.
        megapixels: of the picture; decoding takes up to 20 bytes for each, of transparent ones.
    """

    megabytes: float = 20
    megapixels: float = 40

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)
