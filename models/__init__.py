"""The network, how it is trained and evaluated, and the artifact that training produces.

For the program, for serving, and for any script. May import its kernels and the leaves of lightning_app; knows nothing
about data sets or launchers.
"""
