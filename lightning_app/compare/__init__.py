"""compare: the strategies side by side, in numbers with their spread and their provenance."""
