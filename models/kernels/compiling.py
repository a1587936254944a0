"""Compile a C file once for this processor, and load it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_app.files import cache_folder

log = logging.getLogger(__name__)
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-shared", "-fPIC", "-std=gnu11")
X86_FLAGS = ("-mprefer-vector-width=512",)  # gcc 12 uses 256 bits even where 512 are as fast
SECONDS = 60.0  # a second is enough
SWITCH = "LAPTOP_TO_CLUSTER_KERNELS"  # environment variable: 0 switches the kernels off
BITS = {torch.bfloat16: 16, torch.float32: 32}  # of the element types for which the kernels are compiled


def element(tensor: Tensor) -> tuple[str]:
    """The compiler option for a tensor's type, one of BITS."""
    return (f"-DELEMENT_BITS={BITS[tensor.dtype]}",)


@functools.cache
def load(source: Path, *options: str) -> ctypes.CDLL | None:
    """The library for a C file; None, with a log line, if kernels are switched off or cannot be compiled."""
    if os.environ.get(SWITCH) == "0":
        log.info(f"kernels: using torch's instead of {source.name} ({SWITCH}=0)")
        return None
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        log.info(f"kernels: using torch's instead of {source.name}, which is slower (no C compiler: {compiler[0]})")
        return None
    flags = [*FLAGS, *(X86_FLAGS if platform.machine() == "x86_64" else ()), *options]
    library = cache_folder("kernels") / f"{source.stem}-{fingerprint(source, compiler, flags)}.so"
    try:
        if not library.exists():
            compile_to(library, [*compiler, *flags, str(source)])
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        log.warning(f"kernels: using torch's instead of {source.name}, which is slower ({compiler[0]} failed: {said})")
        return None


def compile_to(library: Path, command: list[str]) -> None:
    """Compile to a temporary file and rename it, because the ranks of a node do this at the same time."""
    library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        compiled = Path(folder) / library.name
        subprocess.run([*command, "-o", str(compiled)], check=True, capture_output=True, text=True, timeout=SECONDS)
        compiled.replace(library)


def fingerprint(source: Path, compiler: list[str], flags: list[str]) -> str:
    """A hash of everything that decides the result: nodes with different processors may share a home directory."""
    sources = [each.read_text() for each in sorted(source.parent.glob("*.[ch]"))]  # one may include another
    known = [*sources, *compiler, *flags, platform.machine(), processor()]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def processor() -> str:
    """The processor's model and instructions, from Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))


def call(source: Path, options: tuple[str, ...], function: str, *arguments: Any) -> None:
    """Call a function of a C file with tensors, numbers, and finally this process's number of threads.

    Raises:
        MemoryError: the function could not allocate memory for its sums.
    """
    library = load(source, *options)
    assert library is not None, f"load {source} first"
    if getattr(library, function)(*map(c_argument, arguments), torch.get_num_threads()):
        raise MemoryError(f"{function} got no memory for its sums")


def c_argument(value: Any) -> Any:
    """A tensor as its address, int as long, float as float; ctypes' own types unchanged."""
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, float):
        return ctypes.c_float(value)
    return ctypes.c_long(value) if isinstance(value, int) else value
