"""What happens around the training loop: averaging, measuring, reporting."""
