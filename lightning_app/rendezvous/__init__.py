"""Where do the ranks of a job meet? Addresses, connections to rank 0, and the cluster environment for Lightning.

For whoever follows a rank to its process group. Imports launchers.
"""
