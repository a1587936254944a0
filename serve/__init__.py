"""What can a trained model be used for: a demo in the browser, labels for a folder of images, files for other runtimes.

For visitors of the demo (`python -m serve`, its page in `serve.app`) and users of `label` and `export`. Imports
`models`, `datamodules.sources` and `datamodules.geometry`: an artifact needs neither Lightning nor the program itself.
"""
