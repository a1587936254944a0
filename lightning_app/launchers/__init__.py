"""Who started this process, and which rank is it? Nothing else looks at a launcher's variables.

For whoever adds a launcher or asks why a rank is what it is. Imports the standard library and lightning_app.errors.
"""
