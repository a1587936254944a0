"""A figure with its title and caption."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`svg` is an HTML element."""

    title: str
    svg: str
    caption: str
