"""jsonargparse's messages in plain words."""

from __future__ import annotations

import pytest

from lightning_app.cli.parser import in_plain_words

UNION = """\
Parser key "trainer.callbacks":
  Does not validate against any of the Union subtypes
  Errors:
    - Expected a <class 'list'>
    - Problem with given class_path '{path}':
        {problem}
    - Expected a <class 'NoneType'>
  Given value: {{'class_path': '{path}'}}"""


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (
            "lightning.pytorch.callbacks.EarlyStoping",
            "module 'lightning.pytorch.callbacks' has no attribute 'EarlyStoping'",
        ),
        ("lightning.pytorch.callbacks.EarlyStopping", "Option 'moniter' is not accepted"),
    ],
)
def test_a_class_that_cannot_be_made_is_named_with_the_reason(path: str, problem: str) -> None:
    said = in_plain_words(UNION.format(path=path, problem=problem), [])
    assert said == f"trainer.callbacks has {path}, which cannot be made: {problem}."
