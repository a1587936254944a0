"""What the documents refer to exists, and their examples run."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.cache_building import open_or_pack
from models.backbones import head_name

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
EXPECTED = (
    "README",
    "CONTRIBUTING",
    "CHANGELOG",
    "design",
    "launchers",
    "performance",
    "fault-tolerance",
    "first-hour",
)
EXPECTED += ("adding-a-dataset", "adding-a-backbone", "cluster-checklist", "your-own-images", "clusters", "serving")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:lightning_app|models|datamodules|serve|tests|configs|slurm|docs)/[\w./-]*)`")
WRITTEN_LATER = re.compile(r"^(runs|data)/")


def prose(document: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language, also those inside of a list."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```", (REPOSITORY / document).read_text(), re.MULTILINE | re.DOTALL
    )
    return ["\n".join(line.removeprefix(indent) for line in block.splitlines()) for indent, block in found]


def test_every_document_is_there() -> None:
    assert set(EXPECTED) <= {document.stem for document in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    dead = []
    for link in LINK.findall(prose(document)):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_are_there(document: Path) -> None:
    named = {path.rstrip(".") for path in PATH.findall(prose(document)) if not WRITTEN_LATER.match(path)}
    gone = {path for path in named if not any((place / path).exists() for place in (REPOSITORY, document.parent))}
    assert gone == set()


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < 250


def test_the_source_of_the_example_is_packed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 1, 0])
    np.savez(
        tmp_path / "it.npz",
        train_images=pixels[:4],
        train_labels=labels[:4],
        test_images=pixels[4:],
        test_labels=labels[4:],
    )
    names: dict[str, Any] = {}
    (code,) = blocks("docs/adding-a-dataset.md", "python")
    exec(compile(code, "adding-a-dataset.md", "exec"), names)
    packed = open_or_pack(names["ArrayFile"](tmp_path / "it.npz"), "arrays", tmp_path, False, print, progress=False)
    assert packed.classes == ["0", "1"]
    assert packed.indices("test").tolist() == [4, 5]
    assert np.array_equal(packed.images, pixels[:, None].repeat(3, axis=1))


def test_the_network_of_the_example_gives_logits() -> None:
    names: dict[str, Any] = {}
    (code,) = blocks("docs/adding-a-backbone.md", "python")
    exec(compile(code, "adding-a-backbone.md", "exec"), names)
    network = names["tiny_net"](num_classes=4)
    assert head_name(network) == "4"
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 4)


WALKED = re.compile(r"`((?:lightning_app|models|datamodules|serve)/[\w./]+\.py):([\w.]+)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_functions_that_are_named_are_there(document: Path) -> None:
    gone = []
    for file, name in WALKED.findall(prose(document)):
        tree: Any = ast.parse((REPOSITORY / file).read_text())
        for part in name.split("."):
            tree = next((node for node in getattr(tree, "body", ()) if getattr(node, "name", "") == part), None)
        if tree is None:
            gone.append(f"{file}:{name}")
    assert gone == []


def test_no_walk_enters_a_file_twice() -> None:
    design = (REPOSITORY / "docs/design.md").read_text().split("## Walks")[1].split("## Add something")[0]
    walks = design.split("\n\n**")[1:]
    assert len(walks) == 3
    for walk in walks:
        files = re.findall(r"^\d+\. `([\w./]+?)(?::[\w.]+)?`", walk, flags=re.MULTILINE)
        assert len(files) == len(set(files)) >= 6
