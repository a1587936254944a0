"""quick_imports() leaves no trace: the collector and scipy are as they would be without it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from lightning_app.imports import quick_imports

PROGRAM = """\
import sys
from lightning_app.imports import quick_imports
with quick_imports():
    import lightning.pytorch
print(any(name.startswith(("scipy.signal", "scipy.stats")) for name in sys.modules))
import scipy.signal
print(scipy.signal.windows.hamming(3).round(2).tolist())
"""


@pytest.mark.slow
def test_lightning_comes_without_scipy_signal_and_whoever_imports_it_later_gets_the_real_one() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "[0.08, 1.0, 0.08]"]


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_again_if_it_was_before(collects: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(gc, "isenabled", lambda: collects)
    for name in ("disable", "enable"):
        monkeypatch.setattr(gc, name, lambda name=name: calls.append(name))
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert calls == ["disable", *["enable"] * collects]
