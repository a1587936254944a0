"""What goes wrong with the user's model options and weights."""


class ModelError(ValueError):
    """A model cannot be built or loaded: the message says what was found, what was expected and how to mend it."""
