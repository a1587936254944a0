"""The environment of processes that Lightning starts itself, on one machine."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from lightning.fabric.plugins.environments import LightningEnvironment

from lightning_app.rendezvous.places import local_place, master_port, open_local_place
from lightning_app.rendezvous.rendezvous import Rendezvous, as_other, as_rank_zero, open_store, use_held_store
from lightning_app.rendezvous.waiting import Waiting, connect_timeout

if TYPE_CHECKING:
    from torch.distributed import TCPStore


class LocalEnvironment(LightningEnvironment):
    """Processes that Lightning starts on this machine; the first one holds its ports from the start."""

    _store: ClassVar[TCPStore | None] = None
    _listener: ClassVar[socket.socket | None] = None
    _rendezvous: ClassVar[Rendezvous | None] = None

    @property
    def main_port(self) -> int:
        if not self.creates_processes_externally:
            self.hold_ports()
        return super().main_port

    def hold_ports(self) -> None:
        """Open torch's store and our own port, and put both into the environment of the processes to be started.

        Raises:
            UsageError: the user's MASTER_PORT is taken.
        """
        if LocalEnvironment._store is None:
            LocalEnvironment._store = store = open_store(self.world_size(), math.inf, master_port() or 0)
            LocalEnvironment._listener = open_local_place()
            os.environ["MASTER_PORT"] = str(store.port)
            use_held_store()

    def rendezvous(self, check: Callable[[], None] = lambda: None) -> Rendezvous:
        """Find the other processes, once. Waits as long as they live, unless the user has set a timeout.

        Args:
            check: called often while waiting; raises if one of them has ended.

        Raises:
            Missing: some did not connect in time; the message names them.
        """
        if LocalEnvironment._rendezvous is None:
            waiting = Waiting(connect_timeout(default=math.inf), check, quiet=self.local_rank() > 0)
            LocalEnvironment._rendezvous = self._find(waiting)
        return LocalEnvironment._rendezvous

    def _find(self, waiting: Waiting) -> Rendezvous:
        if self.local_rank():
            return as_other(local_place, self.local_rank(), waiting)
        store, listener = LocalEnvironment._store, LocalEnvironment._listener
        assert store is not None, "the launcher asked for main_port"
        assert listener is not None, "as above"
        return as_rank_zero(listener, local_place(), self.world_size(), store, waiting)
