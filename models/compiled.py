"""torch.compile for the network, with one graph per image size."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)
CompileMode = Literal[
    "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", "eager", "aot_eager"
]  # fmt: skip
BACKENDS = ("eager", "aot_eager")
GRAPHS = 64  # training and evaluation at each size of a growing list; torch's own limit is 8, then it stops compiling


class CompiledNetwork:
    """Calls a network through torch.compile. Its modules and tensor names do not change.

    Args:
        network: compiled in place; copies and pickles of it are not compiled.
        mode: torch.compile's, or the name of one of its debugging backends.
    """

    def __init__(self, network: nn.Module, mode: CompileMode) -> None:
        self.network, self.mode = network, mode
        self.seen: set[tuple[Any, ...]] = set()
        limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
        setattr(torch._dynamo.config, limit, max(GRAPHS, getattr(torch._dynamo.config, limit)))
        how: dict[str, Any] = {"backend": mode} if mode in BACKENDS else {"mode": mode}
        network.compile(dynamic=False, **how)

    def __call__(self, images: Tensor) -> Tensor:
        """float [n, 3, size, size] to logits; the first call for each shape compiles."""
        key = (self.network.training, *images.shape)
        if key in self.seen:
            return self.network(images)
        self.seen.add(key)
        purpose, began = "training" if self.network.training else "evaluation", time.perf_counter()
        logits, seconds = self.network(images), time.perf_counter() - began

        def tell(more: float = 0.0) -> None:
            size = f"{len(images)} images of {images.shape[-1]} pixels"
            log.info(f"compile: {purpose}, {size}: {seconds + more:.1f} s")

        if logits.requires_grad:  # torch compiles the backward pass the first time it runs
            time_backward(self.network, logits, tell)
        else:
            tell()
        return logits

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickle, whose network is not compiled."""
        return {"network": self.network, "mode": self.mode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["network"], state["mode"])  # type: ignore[misc]  # compiles the copy


def time_backward(network: nn.Module, logits: Tensor, tell: Callable[[float], None]) -> None:
    """Call `tell` with the seconds of the next backward pass from logits to the network's first weights."""
    began = 0.0

    def start(_: Tensor) -> None:
        nonlocal began
        began = time.perf_counter()

    def end(_: Tensor) -> None:
        last.remove()
        tell(time.perf_counter() - began)

    logits.register_hook(start)
    first = next(parameter for parameter in network.parameters() if parameter.requires_grad)
    last = first.register_post_accumulate_grad_hook(end)
