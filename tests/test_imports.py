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
MAY_IMPORT = {
    "lightning_app": {"lightning_app", "models", "datamodules"},
    "models": {"models"},
    "datamodules": {"datamodules"},
    "serve": {"serve", "models", "datamodules"},
}
# Of the data, serving needs what reads, decodes and resizes a picture.
SERVE_MAY_IMPORT = {f"datamodules.{name}" for name in ("archive", "decode", "errors", "geometry", "image_folder")}


@cache
def modules() -> dict[str, Path]:
    """Our modules by name."""
    paths = (path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
    return {name_of(path): path for path in paths}


def name_of(path: Path) -> str:
    """lightning_app/cli.py is lightning_app.cli."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(path: Path) -> set[str]:
    """What a file of ours imports of ours when it runs, also in functions."""
    tree = ast.parse(path.read_text())
    found = {name for node in running(tree) for name in imported(node)}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node but what is for type checkers only."""
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


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    wrong = {
        name: sorted(theirs)
        for name, path in modules().items()
        if name.split(".")[0] == package
        and (theirs := {other for other in imports(path) if other.split(".")[0] not in MAY_IMPORT[package]})
    }
    assert wrong == {}


def test_serving_needs_of_the_data_only_what_reads_pictures() -> None:
    used = {other for name, path in modules().items() if name.startswith("serve") for other in imports(path)}
    assert {name for name in used if name.startswith("datamodules")} <= SERVE_MAY_IMPORT


def test_no_module_imports_itself_in_the_end() -> None:
    graph = {name: imports(path) - {name} for name, path in modules().items()}
    assert list(TopologicalSorter(graph).static_order())  # raises a CycleError that names them
