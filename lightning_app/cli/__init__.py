"""What does the user say? The command line of fit, validate, test and predict, config files, checks, and prepare.

For whoever adds an option. Imports every room but compare, bench and doctor.
"""
