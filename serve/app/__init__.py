"""How can strangers try a trained model on a shared machine? The page, its server and its limits.

For `python -m serve`. Imports Gradio, and from `serve` the classifier and Grad-CAM; nothing outside imports it.
"""
