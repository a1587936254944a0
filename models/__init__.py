"""The network, how it is trained and measured, and the artifact that training leaves behind.

For the program, for serving, and for anybody's script. May import its kernels and the leaves of lightning_app; knows
nothing of data sets or launchers.
"""
