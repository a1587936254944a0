"""What runs inside the measured processes, and writes one file of figures per rank."""
