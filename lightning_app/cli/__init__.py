"""What does the user say? The command line of fit, validate, test and predict, config files, checks, and prepare.

For anyone who adds an option. Imports every room except compare, bench and doctor.
"""
