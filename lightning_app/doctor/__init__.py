"""doctor: what each rank thinks it is, whether the ranks can add numbers together, and what would go wrong."""
