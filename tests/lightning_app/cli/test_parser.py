"""jsonargparse's messages in plain words."""

from __future__ import annotations

import pytest

from lightning_app.cli.parser import in_plain_words, nearest, not_read

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
    assert said == f"trainer.callbacks has {path}, which cannot be created: {problem}."


def test_a_word_for_a_table_of_options_names_one_of_them() -> None:
    raw = """Parser key "data.augment":\nUnable to load config 'null'\n  - Parser key "data.augment": Unable to load"""
    said = in_plain_words(raw, ["data.root", "data.augment.flip"])
    assert said == "data.augment is null; expected options by name, such as --data.augment.flip."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("trainer.gpus", ""),  # not trainer.plugins, which is nearer by its whole name
        ("modle.dropout", "model.dropout"),
        ("nane", "name"),
    ],
)
def test_the_option_that_was_meant_is_one_of_its_group(name: str, expected: str) -> None:
    assert nearest(name, ["name", "trainer.max_epochs", "trainer.plugins", "model.dropout"]) == expected


@pytest.mark.parametrize("kind", ["SequentialLR", "ChainedScheduler"])
def test_schedules_of_schedules_are_pointed_to_ours(kind: str) -> None:
    raw = f"""Parser key "model.lr_scheduler":\n  Given value: {{'class_path': 'torch.optim.lr_scheduler.{kind}'}}"""
    assert "models.schedules.PerStep" in in_plain_words(raw, [])


def test_options_in_environment_variables_are_said_to_be_ignored() -> None:
    assert not_read(["PL_GLOBAL_SEED", "PATH", "XPL_TRAINER_X"]) == ""
    said = not_read(["PL_TRAINER_MAX_EPOCHS", "PL_FIT__MODEL__DROPOUT", "PL_GLOBAL_SEED"])
    assert said.startswith("PL_FIT__MODEL__DROPOUT, PL_TRAINER_MAX_EPOCHS: options are not read")
