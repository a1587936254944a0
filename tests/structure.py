"""Print how the code is laid out: `python tests/structure.py`. The figures in docs/design.md come from here."""

from __future__ import annotations

import ast
import statistics
from collections import Counter
from pathlib import Path

from test_imports import imports, modules, room_of

LONG = 250  # lines of a file that is more than one idea


def main() -> None:
    """One table of rooms, and the totals."""
    paths = modules()
    rooms = Counter(room_of(name) for name in paths)
    print(f"{'room':<28} files  lines")
    for room, files in sorted(rooms.items()):
        lines = sum(length(path) for name, path in paths.items() if room_of(name) == room)
        print(f"{room:<28} {files:5}  {lines:5}")
    arrows = {(room_of(a), room_of(b)) for a, path in paths.items() for b in imports(path)}
    functions = sorted(size for path in paths.values() for size in function_lengths(path))
    print(f"arrows between rooms: {sum(a != b for a, b in arrows)}")
    print(f"storeys: {storeys({name: imports(path) - {name} for name, path in paths.items()})}")
    print(f"files over {LONG} lines: {[str(name) for name, path in paths.items() if length(path) > LONG]}")
    print(
        f"functions: {len(functions)}, median {statistics.median(functions)}, p90 {functions[len(functions) * 9 // 10]}"
    )
    print(f"lines of Python: {sum(length(path) for path in paths.values())}")


def length(path: Path) -> int:
    return len(path.read_text().splitlines())


def function_lengths(path: Path) -> list[int]:
    """Lines of each function, its docstring included."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [
        node.end_lineno - node.lineno + 1 for node in nodes if isinstance(node, ast.FunctionDef) and node.end_lineno
    ]


def storeys(graph: dict[str, set[str]]) -> int:
    """Modules on the longest chain of imports."""
    heights: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in heights:
            heights[name] = 1 + max((height(other) for other in graph.get(name, ())), default=0)
        return heights[name]

    return max(map(height, graph))


if __name__ == "__main__":
    main()
