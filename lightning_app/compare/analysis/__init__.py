"""What do the measurements say? Pure functions from recorded trials to ratios, intervals and predictions."""
