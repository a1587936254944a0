"""Errors in the user's model options and weights."""

from lightning_app.errors import UserError


class ModelError(UserError):
    """A model cannot be built or loaded."""
