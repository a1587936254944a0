"""What does a run leave behind? Loggers, plots, predictions, metrics.json, HPARAMS, the model card and its examples.

For anyone who looks for a run's files. Imports checkpointing and what checkpointing imports.
"""
