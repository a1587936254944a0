"""What goes wrong with the user's data."""


class DataError(ValueError):
    """The data cannot be used: the message says what was found, what was expected and how to mend it."""
