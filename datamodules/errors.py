"""Errors in the user's data."""

from lightning_app.errors import UserError


class DataError(UserError):
    """The data cannot be used."""
