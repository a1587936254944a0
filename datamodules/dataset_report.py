"""What a run prints about its data at the start: one line per split, and what was left out and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from torch import Tensor

from datamodules.packed_cache import PackedImages

FIRST = 3  # names that stand for the others


def report_lines(packed: PackedImages, indices: dict[str, Tensor]) -> list[str]:
    """The lines to log.

    Args:
        packed: the open cache.
        indices: by split, into the packed cache.
    """
    report = packed.report()
    lines = [split_line(packed, split, numbers.numpy()) for split, numbers in indices.items() if len(numbers)]
    lines += [f"data: {note}" for note in report["notes"]]
    if report["ignored"]:
        lines.append(f"ignored: {by_reason(report['ignored'])}")
    if report["equal"]:
        lines.append(f"equal pixels in two splits: {equal_counts(report['equal'])}")
    return lines


def split_line(packed: PackedImages, split: str, indices: np.ndarray) -> str:
    """Images, classes, smallest and largest class."""
    counts = np.bincount(packed.labels[indices], minlength=len(packed.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    spread = f"{counts[least]:,} each"
    if counts[least] != counts[most]:
        spread = f"{counts[least]:,} ({packed.classes[least]}) to {counts[most]:,} ({packed.classes[most]}) each"
    return f"{split}: {len(indices):,} images of {np.count_nonzero(counts)} classes, {spread}"


def by_reason(ignored: Iterable[tuple[str, str]]) -> str:
    """Counts by reason, the most frequent first, with the first names."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, reason in ignored:
        names[reason].append(name)
    found = sorted(names.items(), key=lambda item: -len(item[1]))
    return "; ".join(f"{len(each):,} {reason} ({some(each)})" for reason, each in found)


def equal_counts(equal: Iterable[tuple[str, str, str, str]]) -> str:
    """How many images of a split are also in another, with the first names."""
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for split, name, other, same in equal:
        pairs[split, other].append(f"{name} = {same}")
    return "; ".join(
        f"{len(each):,} images of {split} are in {other} too ({some(each)})" for (split, other), each in pairs.items()
    )


def some(names: list[str]) -> str:
    """The first names, and a mark if there are more."""
    return ", ".join(names[:FIRST]) + (", ..." if len(names) > FIRST else "")


def full_report(packed: PackedImages, indices: dict[str, Tensor]) -> str:
    """The lines, and every name with its reason."""
    report = packed.report()
    lines = [*report_lines(packed, indices), ""]
    lines += [f"ignored\t{name}\t{reason}" for name, reason in report["ignored"]]
    lines += [f"unreadable\t{name}\t{reason}" for name, reason in report["unreadable"]]
    lines += [f"equal\t{split}\t{name}\t{other}\t{same}" for split, name, other, same in report["equal"]]
    return "\n".join(lines).rstrip("\n") + "\n"
