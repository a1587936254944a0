"""Which images are there, of which class and split? And from the bytes of a file to its pixels.

For whoever adds a data set or a format. Imports Pillow and NumPy, but neither torch nor Lightning: serving and
labelling use the same rules. Of ours it imports datamodules.errors and datamodules.holdout.
"""
