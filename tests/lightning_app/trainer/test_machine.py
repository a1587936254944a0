"""A processor's features are read from the kernel's list, as recorded on several machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightning_app.provenance import cpu_name
from lightning_app.trainer.machine import cpu_flags, has_bf16, usable_cores

ZEN4 = """\
processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9354 32-Core Processor
flags\t\t: fpu sse sse2 avx avx2 avx512f avx512_vnni avx512_bf16 vaes
bugs\t\t: sysret_ss_attrs spectre_v1
power management: ts ttp tm

processor\t: 1
model name\t: AMD EPYC 9354 32-Core Processor
flags\t\t: fpu sse
"""
CASCADE_LAKE = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz
flags\t\t: fpu vme sse sse2 avx avx2 avx512f avx512_vnni
vmx flags\t: vnmi preemption_timer
"""
SAPPHIRE_RAPIDS = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8480+
flags\t\t: fpu sse2 avx512f amx_bf16 amx_tile amx_int8
"""
GRACE = """\
processor\t: 0
BogoMIPS\t: 2000.00
Features\t: fp asimd evtstrm aes sve sve2 svebf16 i8mm bf16
CPU implementer\t: 0x41
"""
RASPBERRY_PI_4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
"""
WITHOUT_FLAGS = "processor\t: 0\nhart\t\t: 2\nisa\t\t: rv64imafdc\n"


@pytest.mark.parametrize(
    ("recorded", "bf16"),
    [
        pytest.param(ZEN4, True, id="zen 4"),
        pytest.param(CASCADE_LAKE, False, id="cascade lake"),
        pytest.param(SAPPHIRE_RAPIDS, True, id="sapphire rapids"),
        pytest.param(GRACE, True, id="grace"),
        pytest.param(RASPBERRY_PI_4, False, id="raspberry pi 4"),
        pytest.param(WITHOUT_FLAGS, False, id="risc-v"),
    ],
)
def test_bf16_is_where_the_processor_multiplies_it(recorded: str, bf16: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(recorded)
    assert has_bf16(cpu_flags(tmp_path / "cpuinfo")) is bf16


def test_the_flags_are_those_of_the_first_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(ZEN4)
    first = {"fpu", "sse", "sse2", "avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "vaes"}
    assert cpu_flags(tmp_path / "cpuinfo") == first


def test_without_the_kernels_list_there_are_no_flags(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "nothing") == set()


def test_the_processors_name_is_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CASCADE_LAKE)
    assert cpu_name(tmp_path / "cpuinfo") == "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_only_the_cores_left_to_this_process_are_usable() -> None:
    mask = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mask)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, mask)
    assert usable_cores() == len(mask)
