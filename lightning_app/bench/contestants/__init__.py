"""What bench measures, alternating: each is a program whose last line is its images/s, in JSON."""
