"""What runs inside the measured processes, and leaves one file of numbers for each rank."""
