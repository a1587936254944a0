"""Where do images come from? CIFAR-10, folders and archives, scikit-learn's digits; decoding and downloads."""
