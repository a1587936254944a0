"""What is kept of a run, when, and how does it resume?

For anyone who follows a checkpoint from save to resume. Imports launchers, failure and trainer.
"""
