"""compare: the strategies side by side, in figures with their spread and their provenance."""
