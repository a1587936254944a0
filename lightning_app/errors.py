"""What the user asked for and cannot have."""


class UsageError(ValueError):
    """Options that contradict each other or this machine: what was found, what was expected, how to mend it."""
