"""How does a program of somebody else's run a fit? The function `lightning_app.fit`, each call in a process of its own.

For scripts, notebooks and sweeps. Imports the standard library and lightning_app.errors, so that it costs nothing.
"""
