"""What ends a run: a user's mistake, or nothing left to do. Imports nothing, so every package may raise these."""


class UserError(ValueError):
    """Input that cannot be used: the message says what was found, what was expected, and how to fix it."""


class UsageError(UserError):
    """Options that contradict each other, this machine or the job."""


class Stopped(Exception):
    """All ranks have agreed to stop here, in good order: nothing has failed."""


class Finished(Stopped):
    """There is nothing left to do."""
