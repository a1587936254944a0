"""Who started this process, and which rank is it? Nothing else looks at a launcher's variables.

For whoever adds a launcher (a file and a line in specs/) or asks why a rank is what it is: detection.this_launch() says
so, once a process. Imports the standard library and lightning_app.errors.
"""
