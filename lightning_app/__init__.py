"""The program: python -m lightning_app <verb>."""

__version__ = "0.1.0"
