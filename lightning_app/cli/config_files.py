"""Finds the recipes that the project ships, even when installed as a wheel, and reports errors in configs."""

from __future__ import annotations

import difflib
from pathlib import Path

from lightning_app.errors import UsageError

# In a wheel, the folder configs/ is inside this package; in a checkout, it is beside it.
PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "configs", PACKAGE.parent / "configs")
SUFFIXES = (".yaml", ".yml", ".json")
# New paths of classes that users may have named in a config.
MOVED = {
    "lightning_app.callbacks.bar.Bar": "lightning_app.callbacks.progress_bar.Bar",
    "lightning_app.callbacks.batch_norm.AverageBatchStatistics": (
        "lightning_app.callbacks.batch_statistics.AverageBatchStatistics"
    ),
    "lightning_app.callbacks.pictures.Pictures": "lightning_app.callbacks.tensorboard_images.Pictures",
    "lightning_app.callbacks.plain_progress.PlainProgress": "lightning_app.callbacks.progress_lines.PlainProgress",
    "lightning_app.loggers.PatientLogger": "lightning_app.results.loggers.RetryingTensorBoardLogger",
    "lightning_app.ddp.RankedDDPStrategy": "lightning_app.trainer.strategy.RankedDDPStrategy",
    "lightning_app.checkpoint.ChecksummedIO": "lightning_app.checkpointing.checkpoint_io.ChecksummedIO",
}


def resolve_configs(args: list[str]) -> list[str]:
    """Point `--config configs/x.yaml` (or -c) at the shipped file if the working directory has none.

    Raises:
        UsageError: a config does not exist, or is not a table of options in YAML, or names a class that has moved.
    """
    check_moved("the command line", " ".join(args))
    resolved = list(args)
    for index, arg in enumerate(args):
        if arg.startswith("--config="):
            resolved[index] = "--config=" + find_config(arg.removeprefix("--config="))
        elif index and args[index - 1] in ("--config", "-c"):
            resolved[index] = find_config(arg)
    return resolved


def find_config(name: str) -> str:
    """The path of a config: as given if it exists, else the shipped one of that name; YAML text stays unchanged."""
    if not name.endswith(SUFFIXES):
        return name
    path = Path(name)
    if not path.exists() and path.parts[:1] == ("configs",):
        shipped = [place.joinpath(*path.parts[1:]) for place in PLACES]
        path = next((place for place in shipped if place.exists()), path)
    if not path.is_file():
        raise UsageError(f"no config at {name}; {shipped_ones(path)}")
    check_config(path)
    return str(path)


def shipped_ones(wanted: Path) -> str:
    """What to use instead of a config that does not exist."""
    names = sorted({f"configs/{path.relative_to(place)}" for place in PLACES for path in place.rglob("*.yaml")})
    by_file = {Path(name).name: name for name in names}
    near = difflib.get_close_matches(wanted.name, by_file, n=1)
    return f"did you mean {by_file[near[0]]}?" if near else f"the program comes with {', '.join(names)}."


def check_config(path: Path) -> None:
    """Raise a UsageError with file, line and column if a config is not a table of options in YAML."""
    import yaml

    try:
        text = path.read_text()
        content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(where_broken(path, error)) from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise UsageError(f"{path} has {found} in it; expected options by name, as in configs/quickstart.yaml.")
    check_moved(str(path), text)


def check_moved(where: str, text: str) -> None:
    """Raise a UsageError if a text names a class by an old path."""
    for old, new in MOVED.items():
        if old in text:
            raise UsageError(f"{where} names the class {old}, which has moved: write {new}.")


def where_broken(path: Path, error: Exception) -> str:
    """What is wrong with a YAML file, with line and column if known."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{path} cannot be read as YAML ({error})."
    lines = path.read_text().splitlines()
    tab = mark.line < len(lines) and lines[mark.line][mark.column :].startswith("\t")
    problem = "a tab; YAML is indented with spaces" if tab else f"{getattr(error, 'problem', error)}"
    return f"{path}, line {mark.line + 1}, column {mark.column + 1}: {problem}; expected `option: value`."
