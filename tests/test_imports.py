"""Modules import in one direction, as docs/design.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("lightning_app", "models", "datamodules", "serve")
# What each room may import, besides itself and the leaves that every room may import. Any other arrow fails.
LEAVES = {
    "lightning_app",
    "lightning_app.downloads",
    "lightning_app.errors",
    "lightning_app.files",
    "lightning_app.imports",
    "lightning_app.provenance",
    "lightning_app.sessions",
}
DATA_AND_MODELS = {"datamodules", "datamodules.sources", "models", "models.metrics"}
LAUNCHING = {"launchers", "rendezvous", "failure", "trainer"}
ROOMS = LAUNCHING | {"checkpointing", "results", "callbacks", "cli"}
MAY_IMPORT: dict[str, set[str]] = {
    "launchers": set(),
    "rendezvous": {"launchers"},
    "failure": {"launchers", "rendezvous"},
    "trainer": LAUNCHING,
    "checkpointing": LAUNCHING,
    "results": {"checkpointing"} | LAUNCHING | DATA_AND_MODELS,
    "callbacks": {"checkpointing", "results"} | LAUNCHING,
    "library": set(),
    "cli": ROOMS | {"library", "models.kernels"} | DATA_AND_MODELS,
    "doctor": LAUNCHING,
    "bench": {"callbacks", "cli", "trainer"} | DATA_AND_MODELS,
    "compare": ROOMS | {"doctor"},
    "lightning_app.__main__": ROOMS | {"library"},
    "lightning_app.environment": {"rendezvous"},
    "models": {"models.kernels", "models.metrics"},
    "models.kernels": set(),
    "models.metrics": set(),
    "datamodules": {"datamodules.sources", "datamodules.augmentations"},
    "datamodules.augmentations": {"datamodules.constants", "datamodules.geometry"},
    "datamodules.sources": {"datamodules.errors", "datamodules.holdout"},
    "serve": {"models", "datamodules.sources", "datamodules.geometry", "datamodules.errors"},
}


@cache
def modules() -> dict[str, Path]:
    """Our modules by name."""
    paths = (path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
    return {name_of(path): path for path in paths}


def name_of(path: Path) -> str:
    """lightning_app/cli/cli.py is lightning_app.cli.cli."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(path: Path) -> set[str]:
    """What one of our files imports from our code when it runs, also in functions."""
    tree = ast.parse(path.read_text())
    found = {name for node in running(tree) for name in imported(node)}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below a node, except those for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from running(child)


def imported(node: ast.AST) -> list[str]:
    """Modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        known = modules()
        below = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in known else node.module for name in below]
    return []


def room_of(name: str) -> str:
    """The room of a module: a folder of lightning_app, or a package; a leaf or a top-level file is its own."""
    parts = name.split(".")
    if parts[0] == "lightning_app":
        return parts[1] if len(parts) > 2 or (REPOSITORY / "lightning_app" / parts[-1]).is_dir() else name
    return ".".join(parts[:2]) if ".".join(parts[:2]) in MAY_IMPORT else parts[0]


@pytest.mark.parametrize("room", sorted({room_of(name) for name in modules()} - LEAVES))
def test_a_room_imports_only_what_the_table_allows(room: str) -> None:
    allowed = MAY_IMPORT[room] | LEAVES | {room}
    wrong = {
        name: sorted(theirs)
        for name, path in modules().items()
        if room_of(name) == room
        and (theirs := {other for other in imports(path) if not {room_of(other), other} & allowed})
    }
    assert wrong == {}


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_a_leaf_imports_only_other_leaves(leaf: str) -> None:
    assert imports(modules()[leaf]) <= LEAVES


def test_the_rooms_form_no_circle() -> None:
    graph = {room: allowed - {room} for room, allowed in MAY_IMPORT.items()}
    assert list(TopologicalSorter(graph).static_order())


def test_no_module_imports_itself_in_the_end() -> None:
    graph = {name: imports(path) - {name} for name, path in modules().items()}
    assert list(TopologicalSorter(graph).static_order())  # raises a CycleError that names them
