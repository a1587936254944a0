"""Folders and the images in them, from one listing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from datamodules.sources.files.entry import Entry
from datamodules.sources.naming import is_hidden, is_image


@dataclass
class Folder:
    """A folder with its contents.

    Attributes:
        path: from the root, ending in a slash; empty for the root.
        folders: its subfolders, by name.
        images: those directly in it.
    """

    path: str
    folders: dict[str, Folder] = field(default_factory=dict)
    images: list[Entry] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.removesuffix("/").rpartition("/")[2]

    def below(self) -> Iterator[Folder]:
        """This folder and all below it, at any depth."""
        yield self
        for folder in self.folders.values():
            yield from folder.below()

    def all_images(self) -> Iterator[Entry]:
        """The images in this folder and all below it."""
        return (image for folder in self.below() for image in folder.images)

    def filled(self) -> list[Folder]:
        """The direct subfolders that have images at any depth."""
        return [folder for folder in self.folders.values() if any(folder.all_images())]


def tree_of(entries: Iterable[Entry]) -> Folder:
    """The folders, without hidden ones, and their images."""
    top = Folder("")
    places = {"": top}

    def place(path: str) -> Folder:
        if path not in places:
            above, _, name = path.removesuffix("/").rpartition("/")
            parent = place(f"{above}/" if above else "")
            places[path] = parent.folders[name] = Folder(path)
        return places[path]

    for entry in entries:
        if is_image(entry.name):
            place(entry.name[: entry.name.rfind("/") + 1]).images.append(entry)
        elif entry.name.endswith("/") and not entry.problem and not is_hidden(entry.name):
            place(entry.name)
    return top
