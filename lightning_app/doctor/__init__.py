"""doctor: what each rank detects, whether the ranks can add numbers together, and what would go wrong."""
