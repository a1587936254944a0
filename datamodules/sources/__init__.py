"""Which images are there, in which class and split? And how do a file's bytes become pixels?

For anyone who adds a data set or a format. Imports Pillow and NumPy, but neither torch nor Lightning: serving and
labelling use the same rules. Of our modules, it imports datamodules.errors and datamodules.holdout.
"""
