"""validate, test and predict start from the options of their checkpoint's run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.datamodule import ImageData
from lightning_app.checkpointing.checkpoint_io import read_checkpoint
from lightning_app.checkpointing.identity import flatten
from lightning_app.cli.config_files import SUFFIXES
from lightning_app.errors import UsageError

SHOWN = 10  # class names in an error
# What a run and its evaluation share. Trainer, folders and checkpoints belong to this command.
SHARED = ("model_class", "model.", "data.", "seed_everything")
# The checkpoint's weights replace the initial ones, and nothing is optimised.
NOT_USED = ("model.weights", "model.optimizer", "model.lr_scheduler")
SPLIT = ("seed_everything", "data.val_fraction")


def given(args: Sequence[str], name: str) -> str | None:
    """The value of an option on a command line or in its config files; the last one counts, as in the parser."""
    value = None
    for before, arg in zip(["", *args], args, strict=False):
        if before == f"--{name}":
            value = arg
        elif arg.startswith(f"--{name}="):
            value = arg.partition("=")[2]
        elif before in ("--config", "-c") or arg.startswith("--config="):
            value = in_config(arg.removeprefix("--config="), name) or value
    return value


def in_config(config: str, name: str) -> str | None:
    """The value of an option in a config file, or in YAML text."""
    import yaml

    content = yaml.safe_load(Path(config).read_text() if config.endswith(SUFFIXES) else config)
    value = content.get(name) if isinstance(content, dict) else None
    return None if value is None else str(value)


@dataclass(frozen=True)
class TrainedOn:
    """What a checkpoint records about its run; nothing if no fit of this program wrote it.

    Attributes:
        path: of the checkpoint.
        options: those that its evaluation shares, by full name.
        classes: names, in the order of the logits.
        content: of the packed data, as PackedImages.content.
    """

    path: Path
    options: Mapping[str, Any]
    classes: Sequence[str] | None
    content: str | None

    @classmethod
    def read(cls, path: Path) -> TrainedOn:
        """Raises: CheckpointError, as read_checkpoint()."""
        run = read_checkpoint(path).get("run", {})
        options = {name: json.loads(value) for name, value in run.get("options", {}).items()}
        shared = {name: value for name, value in options.items() if name.startswith(SHARED)}
        facts = run.get("facts", {})
        used = {name: value for name, value in shared.items() if not name.startswith(NOT_USED)}
        return cls(path, used, facts.get("classes"), facts.get("data"))

    def as_config(self) -> str:
        """The options as the content of a config file."""
        tree: dict[str, Any] = {}
        for name, value in self.options.items():
            *above, last = name.split(".")
            node = tree
            for part in above:
                node = node.setdefault(part, {})
            node[last] = value
        return json.dumps(tree)

    def check_model(self, options: Mapping[str, Any]) -> None:
        """Raise a UsageError for model options that differ from the run's, because the checkpoint would override them.

        Args:
            options: of this command, nested.
        """
        ours = dict(flatten(options))
        if differ := [name for name in self._different(ours) if name.startswith(("model_class", "model."))]:
            raise UsageError(f"{self._told(differ, ours)}. Leave it out: the checkpoint has it.")

    def check_split(self, options: Mapping[str, Any]) -> None:
        """Raise a UsageError if this command would validate on images that the checkpoint was trained on."""
        ours = dict(flatten(options))
        if differ := [name for name in self._different(ours) if name in SPLIT]:
            raise UsageError(
                f"{self._told(differ, ours)}: its training images would be among the validation images. Leave it out: "
                "the checkpoint knows."
            )

    def check_classes(self, data: ImageData) -> None:
        """Raise a UsageError if the data has other classes than the run, or the same in another order."""
        if self.classes is not None and list(self.classes) != data.packed.classes:
            raise UsageError(
                f"{self.path} was trained on the classes {listed(self.classes)}, but {data.packed.folder} has "
                f"{listed(data.packed.classes)}: its predictions would count under the wrong names. Use data with the "
                "same classes."
            )

    def is_other_data(self, data: ImageData) -> bool:
        """Whether the data is known to differ from the run's."""
        return self.content not in (None, data.packed.content)

    def _different(self, ours: Mapping[str, Any]) -> list[str]:
        return [name for name, value in self.options.items() if ours.get(name) != value]

    def _told(self, names: Sequence[str], ours: Mapping[str, Any]) -> str:
        """Both values of these options."""
        values = (
            f"{name} is {in_words(self.options[name])} there and {in_words(ours.get(name))} here" for name in names
        )
        return f"{self.path} is from a run with other options: {'; '.join(values)}"


def in_words(value: Any) -> str:
    """A value as written in an option."""
    return value if isinstance(value, str) else json.dumps(value)


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
