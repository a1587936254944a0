"""How does a job end when a rank fails? One message, the right exit code, and no rank left behind.

For anyone who asks why a job ended. Imports launchers and rendezvous.
"""
