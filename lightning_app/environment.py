"""The public name of the cluster environment plugin, for scripts and configs."""

from lightning_app.rendezvous.environment import LauncherEnvironment

__all__ = ["LauncherEnvironment"]
