"""Who started this process, and which rank is it? Nothing else looks at a launcher's variables.

For anyone who adds a launcher (a file and a line in specs/) or asks why a rank has its number: detection.this_launch()
reports it, once per process. Imports the standard library and lightning_app.errors.
"""
