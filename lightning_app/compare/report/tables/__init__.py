"""The tables of a report: cells of text, for markdown and HTML alike."""
