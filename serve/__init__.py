"""A demo of a trained model: python -m serve --model runs/<name>/<version>/model."""
