"""A host's properties: memory, shared memory, file systems, its own address."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "afs", "fuse.glusterfs"}


def free_mib(path: Path) -> int:
    """Free space, in MiB; 0 if the folder does not exist."""
    return shutil.disk_usage(path).free >> 20 if path.exists() else 0


def memory_gib() -> float:
    """The host's memory, or the limit of this process's control group if that is less."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return 0.0
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round(min([total, *memory_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]) / 2**30, 1)


def memory_limits(own: Path, root: Path) -> list[int]:
    """Limits of this process's control group and of all above it, in bytes.

    Args:
        own: its group, as the kernel prints it: a line `0::/path` for version 2, `9:memory:/path` for 1.
        root: where the groups are mounted.
    """
    found = []
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        for group in (top / path.strip("/"), *(top / path.strip("/")).parents):
            if group.is_relative_to(top) and (limit := group / name).exists() and limit.read_text().strip().isdecimal():
                found.append(int(limit.read_text()))
    return found


def resolve(host: str) -> str:
    """The address of a name, or empty if it does not resolve."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return ""


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that holds a folder, or its nearest existing parent."""
    if not mounts.exists():
        return ""
    target = folder.resolve()
    found = ("", "")
    for line in mounts.read_text().splitlines():
        point, kind = line.split(" ")[1:3]
        if target.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]
