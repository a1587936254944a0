"""A compiled kernel is found again only by what it was compiled from, with and for."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.kernels import compiling


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "shared.h").write_text("#define TWO 2\n")
    (tmp_path / "sum.c").write_text('#include "shared.h"\n')
    return tmp_path / "sum.c"


def test_another_source_compiler_flag_or_processor_is_another_library(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "processor", lambda: "flags: avx2")
    found = [compiling.fingerprint(source, ["cc"], ["-O3"])]
    assert compiling.fingerprint(source, ["cc"], ["-O3"]) == found[0]
    found.append(compiling.fingerprint(source, ["clang"], ["-O3"]))
    found.append(compiling.fingerprint(source, ["cc"], ["-O3", "-DELEMENT_BITS=32"]))
    monkeypatch.setattr(compiling, "processor", lambda: "flags: avx2 avx512f")
    found.append(compiling.fingerprint(source, ["cc"], ["-O3"]))
    (source.parent / "shared.h").write_text("#define TWO 3\n")  # included: one header for all kernels
    found.append(compiling.fingerprint(source, ["cc"], ["-O3"]))
    assert len(set(found)) == len(found)
