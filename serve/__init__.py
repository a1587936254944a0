"""What can you do with a trained model? Try it in the browser, label images with it, export it to other runtimes.

For visitors of the demo (`python -m serve`, its page in `serve.app`) and users of `label` and `export`. Imports
`models`, `datamodules.sources` and `datamodules.geometry`: an artifact needs neither Lightning nor the program itself.
"""
