"""The one place for speed: ratios measured side by side, never a single figure."""

from lightning_app.bench.command import bench

__all__ = ["bench"]
