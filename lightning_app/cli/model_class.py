"""--model_class: replaces ImageClassifier with a subclass, whose options are below `model`.

It has to be known before the parser exists, because its options are the parser's.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from lightning_app.cli.trained_on import given
from lightning_app.errors import UsageError
from models.classifier import ImageClassifier

DEFAULT = f"{ImageClassifier.__module__}.{ImageClassifier.__qualname__}"


def chosen_model(args: Sequence[str]) -> type[ImageClassifier]:
    """The class that the options of a command line, or their configs, name.

    Raises:
        UsageError: it cannot be imported, or is not a subclass of ImageClassifier.
    """
    return import_model(given(args, "model_class") or DEFAULT)


def import_model(path: str) -> type[ImageClassifier]:
    """A subclass of ImageClassifier by its import path."""
    expected = f"expected the import path of a subclass of {DEFAULT}, for example my_module.MyClassifier"
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: no module before the name
        raise UsageError(f"model_class is {path}, which cannot be imported ({error}); {expected}.") from error
    if not (isinstance(found, type) and issubclass(found, ImageClassifier)):
        raise UsageError(f"model_class is {path}, which is not a subclass; {expected}.")
    return found
