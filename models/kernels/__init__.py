"""Operations that torch does slowly on a CPU, in C: each kernel's Python beside its source. Imports no other rooms.

They are compiled on first use. `LAPTOP_TO_CLUSTER_KERNELS=0` in the environment switches them off;
`in_use.kernels_in_use()` says which of them run here.
"""
