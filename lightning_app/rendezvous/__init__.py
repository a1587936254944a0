"""Where do the ranks of a job meet? A star of connections around rank 0, torch's store, and Lightning's environment.

For anyone who follows a rank to its process group. Imports launchers.
"""
