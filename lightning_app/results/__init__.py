"""What does a run leave behind? Loggers, plots, predictions, metrics.json, HPARAMS, the model card and its examples.

For whoever looks for a file of a run. Imports checkpointing and what checkpointing imports.
"""
