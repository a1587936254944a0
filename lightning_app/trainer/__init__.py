"""From one flag to a Trainer: the plan, the machine, threads, memory and the strategy.

For anyone who asks what a run will use. Imports launchers, rendezvous and failure.
"""
