"""The program: python -m lightning_app fit|validate|test|predict|bench."""

__version__ = "0.1.0"
