"""What ends a run: what the user asked for and cannot have, and what is no failure at all."""


class UsageError(ValueError):
    """Options that contradict each other or this machine: what was found, what was expected, how to mend it."""


class Stopped(Exception):
    """All ranks have agreed to end here, in good order: nothing has failed."""


class Finished(Stopped):
    """There was nothing left to do."""
