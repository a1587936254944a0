"""How is a comparison shown? Tables, figures, Markdown and HTML from the analysis."""
