"""Which runs does a comparison start, in what order, and what is measured in each?"""
