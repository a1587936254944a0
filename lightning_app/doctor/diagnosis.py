"""Everything that doctor knows in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightning_app.doctor.rank_facts import Facts

if TYPE_CHECKING:
    from lightning_app.doctor.all_reduce import Reduction


@dataclass
class Diagnosis:
    """The ranks' facts and results.

    Attributes:
        ranks: those with known facts.
        rendezvous_seconds: until all ranks had found each other; None if they have not.
        failed: why they did not, or could not add.
        reductions: one per backend.
    """

    ranks: list[Facts]
    rendezvous_seconds: float | None = None
    failed: str = ""
    reductions: list[Reduction] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """A fit would start here."""
        return (
            not self.failed
            and all(reduction.right for reduction in self.reductions)
            and not any(rank.refused for rank in self.ranks)
        )
