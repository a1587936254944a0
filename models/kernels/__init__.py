"""Kernels in C, compiled where they run; without a compiler, torch's own do the same in more time."""
