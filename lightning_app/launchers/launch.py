"""This process's place in its job, as a value that is computed once and passed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Launch:
    """This process's place in its job.

    Attributes:
        launcher: what started it, by name in specs.SPECS; `none` is a process without a launcher.
        world_size: processes of the job.
        global_rank: 0 .. world_size - 1.
        local_rank: 0 .. local_world_size - 1 on this node.
        local_world_size: processes of the job on this node.
        node_rank: index of this node; None if only a rendezvous can tell (several nodes under mpirun).
        num_nodes: None as above.
        own_gpus: this rank's GPUs were chosen for it (by a wrapper, or by SLURM): other ranks may see others.
        sources: the variable that each value was read from.
        reason: why this launcher, in one line.
        warning: what the user may have meant instead; empty if nothing.
    """

    launcher: str
    world_size: int
    global_rank: int
    local_rank: int
    local_world_size: int
    node_rank: int | None
    num_nodes: int | None
    own_gpus: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    warning: str = ""

    @property
    def external(self) -> bool:
        """There are several ranks, and a launcher outside Python created them."""
        return self.launcher not in ("none", "lightning") and self.world_size > 1

    def contradiction(self) -> str:
        """Which rank is not below its size, or which part exceeds the whole; empty if all are consistent."""
        bounds = [
            ("global_rank", self.global_rank, "world_size", self.world_size),
            ("local_rank", self.local_rank, "local_world_size", self.local_world_size),
            ("node_rank", self.node_rank or 0, "num_nodes", self.num_nodes or 1),
            ("local_world_size", self.local_world_size, "world_size + 1", self.world_size + 1),
        ]
        wrong = (bound for bound in bounds if bound[1] >= bound[3])
        return next((f"{small} {value} is not below {large} {limit}" for small, value, large, limit in wrong), "")


ALONE = Launch("none", 1, 0, 0, 1, 0, 1)
