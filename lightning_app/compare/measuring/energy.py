"""The energy used by a rank's GPU and its node's processors, if the machine measures it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Counter:
    """Joules since some moment.

    Attributes:
        joules: per device, by name.
        wraps_at: joules at which a device's counter restarts.
        reason: why there are none; empty if there are.
    """

    joules: dict[str, float] = field(default_factory=dict)
    wraps_at: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    def since(self, before: Counter) -> dict[str, Any]:
        """{"joules": over all devices, or None, "reason": why not}."""
        reason = before.reason or self.reason
        if reason:
            return {"joules": None, "reason": reason}
        used = 0.0
        for name, now in self.joules.items():
            used += now - before.joules[name]
            used += self.wraps_at.get(name, 0.0) if now < before.joules[name] else 0.0
        return {"joules": used, "reason": ""}


def cpu_counter(powercap: Path = POWERCAP) -> Counter:
    """All processor packages of this node, whoever uses them: RAPL, through Linux's powercap.

    Since Linux 5.10, only root may read energy_uj, because it leaks others' secrets (CVE-2020-8694).
    """
    packages = sorted(path for path in powercap.glob("intel-rapl:*") if path.name.count(":") == 1)
    if not packages:
        return Counter(reason=f"no RAPL counter under {powercap}")
    try:
        joules = {path.name: micro(path / "energy_uj") for path in packages}
        return Counter(joules, {path.name: micro(path / "max_energy_range_uj") for path in packages})
    except OSError as error:
        return Counter(reason=f"{error.filename} cannot be read: {error.strerror}")


def micro(path: Path) -> float:
    return int(path.read_text()) / 1e6


def gpu_counter(device: torch.device) -> Counter:
    """One GPU, from NVML's nvmlDeviceGetTotalEnergyConsumption: since the driver was loaded; Volta and newer."""
    if device.type != "cuda":
        return Counter(reason="no GPU was used")
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return Counter(reason="libnvidia-ml.so.1 is missing")
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    code = nvml.nvmlInit_v2()
    code = code or nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle))
    code = code or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
    if code:
        return Counter(reason=f"NVML error {code} for {uuid}")
    return Counter({uuid: millijoules.value / 1000})
