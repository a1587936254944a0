"""What an exception says, for people."""


def reason(error: BaseException) -> str:
    """The first line of an error's message, or its type where there is none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
