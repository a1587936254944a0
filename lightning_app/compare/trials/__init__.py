"""Which runs does a comparison start, in what order, and what does it measure in each?"""
