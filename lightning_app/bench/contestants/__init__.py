"""What bench measures in turn: each a program that prints images/s as its last line, in JSON."""
