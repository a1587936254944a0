"""What is kept of a run, when, and how does it go on?

For whoever follows a checkpoint from save to resume. Imports launchers, failure and trainer.
"""
