"""How is a trained model shown to strangers, on a machine that others share: the page, its server and its limits.

For `python -m serve`. Imports Gradio, and from `serve` the classifier and Grad-CAM; nothing outside imports it.
"""
