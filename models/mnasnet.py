"""torchvision's MNASNet, loading states without the version of each module."""

from __future__ import annotations

from typing import Any

from torchvision.models import MNASNet


class AnyVersionMNASNet(MNASNet):
    """Takes a state without versions for its own; files have none, nor have averaged weights. MNASNet refuses such."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, {"version": self._version} | local_metadata, *rest)
