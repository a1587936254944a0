"""How does another program run a fit? With the function `lightning_app.fit`, each call in a separate process.

For scripts, notebooks and sweeps. Imports the standard library and lightning_app.errors, so it costs nothing.
"""
