"""The C kernels are right on other processors too: compiled for fewer instructions, they give the same sums."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from models.kernels.compiling import FLAGS, c_argument
from models.kernels.depthwise import SOURCE

LEVELS = ("x86-64", "x86-64-v3")  # SSE2; AVX2. This processor has to have them
THREADS = 2
pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or shutil.which("cc") is None, reason="needs an x86-64 processor and a C compiler"
)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(112, 112), (9, 12), (1, 1)])
def test_the_depthwise_gradient_in_float32(level: str, stride: int, height: int, width: int, tmp_path: Path) -> None:
    if level == "x86-64-v3" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    flags = [flag if flag != "-march=native" else f"-march={level}" for flag in FLAGS]
    command = ["cc", *flags, "-DELEMENT_BITS=32", str(SOURCE), "-o", str(tmp_path / "kernel.so")]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(tmp_path / "kernel.so"))
    images = torch.randn(3, 32, height, width).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(32, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    output = torch.nn.functional.conv2d(images.double(), weight, None, stride, 1, groups=32)
    grad = torch.randn(output.shape).contiguous(memory_format=torch.channels_last)
    (expected,) = torch.autograd.grad(output, weight, grad.double())
    found = torch.empty(9, 32)
    shape = (len(images), height, width, 32, stride, THREADS)
    assert library.depthwise_weights(*map(c_argument, (images, grad, found, *shape))) == 0
    found = found.t().reshape(weight.shape).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
