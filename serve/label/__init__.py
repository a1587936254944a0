"""Which classes does a trained model see in these files: a table with a row for each.

For users of `python -m lightning_app label`. Imports the classifier, and the sources that packing reads with.
"""

from serve.label.command import label

__all__ = ["label"]
