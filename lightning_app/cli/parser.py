"""The program's options, and a LightningCLI parser whose errors are one message instead of a page of usage."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NoReturn

import yaml
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.strategies import StrategyRegistry
from lightning_utilities.core.enums import StrEnum

from lightning_app.checkpointing.schedule import SavingOptions
from lightning_app.cli.model_class import DEFAULT
from lightning_app.errors import UsageError
from lightning_app.failure.hang_watch import HangOptions

RUN_NAME, RUNS_DIR = "run", "runs"
# jsonargparse's sentences, which have no accessible parts (jsonargparse/_typehints.py, _core.py).
OPTION = re.compile(r'Parser key "(.+?)":')
VALUE = re.compile(r"(?:Given|Got) value: (.+?)(?:\. Got value: .*)?$", re.MULTILINE)
EXPECTED = re.compile(r"Expected an? (?!path but )(.+?)(?:\. Got value: .*)?$", re.MULTILINE)
NOT_MADE = re.compile(
    r"expects a function or a callable class: (?!Parser key)(.+?)(?:\. Got value: .*)?$", re.MULTILINE
)
AMBIGUOUS = re.compile(
    r"Multiple subclasses with name (\w+)\. Give the full class path to avoid ambiguity: (.+)\.$", re.MULTILINE
)
NO_IMPORT_PATH = re.compile(r"Expected a dot import path string: (.+)$", re.MULTILINE)
NO_CLASS = "Expected an import path or a subclass spec, but got None"
BAD_CLASS = re.compile(r"Problem with given class_path '(.+?)':\s+(.+)")
NO_TABLE = re.compile(r"Unable to load config [\"'](.+?)[\"']")
COMBINED = re.compile(r"\b(SequentialLR|ChainedScheduler)\b")
MISSPELT = re.compile(r"(?:unrecognized arguments: --|does not accept option ')([\w.]+)")
TYPES = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text",
    "<class 'list'>": "a list",
    "<class 'collections.abc.Iterable'>": "a list",
    "<class 'NoneType'>": "null",
}


# What other LightningCLIs and Lightning's Trainer read; here, only config files and the command line count.
IN_ENVIRONMENT = re.compile(r"PL_(TRAINER|FIT|VALIDATE|TEST|PREDICT)_\w+")


def not_read(environ: Iterable[str]) -> str:
    """A warning about options in environment variables; empty if there are none.

    Args:
        environ: names of the variables.
    """
    names = sorted(name for name in environ if IN_ENVIRONMENT.fullmatch(name))
    return f"{', '.join(names)}: options are not read from the environment; give them as --trainer.<option>" * bool(
        names
    )


# For config.yaml: YAML cannot represent an enumeration, such as the default interval of Lightning's Timer.
yaml.SafeDumper.add_multi_representer(StrEnum, lambda dumper, value: dumper.represent_str(value.value))


class Parser(LightningArgumentParser):
    """Raises a UsageError for invalid options.

    Attributes:
        verb: the verb being parsed; None if not set, and then the program's name ends with it.
    """

    verb: str | None = None

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # jsonargparse tries something, and catches the error
            super().error(message, ex)
        if isinstance(ex, UsageError):
            raise ex
        parser = getattr(ex, "subcommand_parser", self)
        said = in_plain_words(message, parser.get_defaults().keys())
        verb = self.verb or parser.prog.split()[-1]
        raise UsageError(f"{said}\nTo see the options: python -m lightning_app {verb} --help") from ex


def in_plain_words(message: str, options: Iterable[str]) -> str:
    """What was found and expected, from jsonargparse's message; an unknown message stays unchanged."""
    if misspelt := MISSPELT.search(message):
        near = "resume" if misspelt[1] == "ckpt_path" else nearest(misspelt[1], list(options))
        return f"there is no option {misspelt[1]}" + (f": did you mean {near}?" if near else ".")
    option = "'s ".join(OPTION.findall(message))
    if table := NO_TABLE.search(message):
        option = option.partition("'s ")[0]
        below = next((name for name in options if name.startswith(f"{option}.")), f"{option}.<name>")
        return f"{option} is {table[1]}; expected options by name, such as --{below}."
    if option.startswith("model.lr_scheduler") and (combined := COMBINED.search(message)):
        return (
            f"model.lr_scheduler is a {combined[1]}, which takes schedule objects; use models.schedules.PerStep, which "
            "builds them, one after the other or multiplied (docs/training.md)."
        )
    if ambiguous := AMBIGUOUS.search(message):
        return f"{option} is {ambiguous[1]}, and several classes have that name; expected one of {ambiguous[2]}."
    if problem := BAD_CLASS.search(message):
        return f"{option} has {problem[1]}, which cannot be created: {problem[2].rstrip('.')}."
    if NO_CLASS in message:
        return f"{option} is null; expected a class path."
    if reason := NOT_MADE.search(message):
        return f"{option} cannot be created: {reason[1]}."
    value = VALUE.search(message) or NO_IMPORT_PATH.search(message)
    expected = dict.fromkeys(map(type_in_words, EXPECTED.findall(message)))
    if option == "trainer.strategy" and value and value[1] in StrategyRegistry.available_strategies():
        return (
            f"trainer.strategy is {value[1]}, Lightning's name; expected one of auto, cpu, gpu, ddp, or a class path "
            "such as lightning.pytorch.strategies.DDPStrategy. ddp is DDP on GPUs, on CPUs and under launchers."
        )
    if option and value and expected:
        return f"{option} is {value[1]}; expected {' or '.join(expected)}."
    return message


def nearest(name: str, options: Sequence[str]) -> str:
    """The option that was meant, or an empty string.

    Within a group, only what follows its name is compared: by their whole names, trainer.gpus is near trainer.plugins.
    """
    group = name[: name.rfind(".") + 1]
    in_group = {option[len(group) :]: option for option in options if group and option.startswith(group)}
    if in_group:
        return "".join(in_group[near] for near in difflib.get_close_matches(name[len(group) :], in_group, n=1))
    return "".join(difflib.get_close_matches(name, options, n=1))


def type_in_words(name: str) -> str:
    """A type in plain words, from jsonargparse's notation."""
    if name.startswith("dot import path"):
        return "a class path"
    if choices := re.fullmatch(r"typing\.Literal\[(.+)\]", name):
        return f"one of {choices[1].replace(chr(39), '')}"
    return TYPES.get(name, name)


def add_options(parser: LightningArgumentParser) -> None:
    """Add the options to a verb's parser."""
    parser.add_argument("--name", default=RUN_NAME, help="Name of the run: its folder is <runs_dir>/<name>/<version>.")
    parser.add_argument("--runs_dir", default=RUNS_DIR, help="Folder that holds all runs.")
    parser.add_argument(
        "--model_class",
        default=DEFAULT,
        help="Import path of a subclass to use instead, for example my_module.MyClassifier; its options are --model.*.",
    )
    parser.add_argument(
        "--ema_decay", type=float, default=0.999, help="Decay of the averaged weights; 0 turns averaging off."
    )
    parser.add_argument(
        "--resume",
        default="auto",
        help="Where fit starts: `auto` resumes an unfinished run with this name and these options; `never` starts a "
        "new run; the path of a checkpoint or of a run's folder (or `last` or `best`, of the newest run of this "
        "name) continues from there in a new folder, also with more trainer.max_epochs or max_steps if the "
        "schedule has no end.",
    )
    parser.add_argument(
        "--on_nan",
        type=Literal["stop", "skip"],
        default="stop",
        help="What to do if a loss is NaN or infinite: stop and name the images, or skip the batch.",
    )
    parser.add_class_arguments(SavingOptions, "checkpoint")
    parser.add_class_arguments(HangOptions, "hang")
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    parser.link_arguments("seed_everything", "data.seed", compute_fn=data_seed)


def data_seed(seed: bool | int) -> int:
    """The seed of split, order and augmentation.

    Raises:
        UsageError: `seed_everything: true` asks for a random seed, on which no two ranks would agree.
    """
    if seed is True:
        raise UsageError("--seed_everything true draws a different seed on every rank; give a number instead.")
    return int(seed)
