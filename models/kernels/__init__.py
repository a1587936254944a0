"""What torch does slowly on a CPU, in C: each kernel's Python beside its source. Imports nothing of the other rooms.

They are compiled on first use. `LAPTOP_TO_CLUSTER_KERNELS=0` in the environment leaves everything to torch;
`in_use.kernels_in_use()` says which of them run here.
"""
