"""Finding the recipes that the project ships, also where it is installed as a wheel."""

from __future__ import annotations

from pathlib import Path

# In a wheel the folder configs/ lies inside this package, in a checkout beside it.
PLACES = (Path(__file__).parent / "configs", Path(__file__).parent.parent / "configs")


def resolve_configs(args: list[str]) -> list[str]:
    """Point `--config configs/x.yaml` at the shipped file where the working directory has none."""
    resolved = list(args)
    for index, arg in enumerate(args):
        if arg.startswith("--config="):
            resolved[index] = "--config=" + find_config(arg.removeprefix("--config="))
        elif index and args[index - 1] == "--config":
            resolved[index] = find_config(arg)
    return resolved


def find_config(name: str) -> str:
    """The path of a config: as given if it exists, else the shipped one of that name, else as given."""
    path = Path(name)
    if path.exists() or path.parts[:1] != ("configs",):
        return name
    shipped = [place.joinpath(*path.parts[1:]) for place in PLACES]
    return str(next((place for place in shipped if place.exists()), path))
