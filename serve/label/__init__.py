"""Which class does a trained model predict for each of these files? A table with a row per file.

For users of `python -m lightning_app label`. Imports the classifier, and the sources that packing uses.
"""

from serve.label.command import label

__all__ = ["label"]
