"""Which split and class a file belongs to, by the folders it lies in."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tessera.data.reading import printable
from tessera.errors import DataError
from tessera.registry import suggest

log = logging.getLogger("tessera")

Parts = tuple[str, ...]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm")
IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}


def ignored(parts: Parts) -> bool:
    """Whether this is what an operating system left: hidden files and the like."""
    return any((part.startswith(".") and part != "..") or part in IGNORED for part in parts)


def is_image(parts: Parts) -> bool:
    """Whether the file's name says that it is an image."""
    return parts[-1].lower().endswith(SUFFIXES)


class Placed(NamedTuple):
    """Where images belong.

    Attributes:
        classes: Names, by label.
        splits: Split, then class, then its images.
        stray: Images in no class's folder.
    """

    classes: list[str]
    splits: dict[str, dict[str, list[Parts]]]
    stray: list[Parts]


class Layout:
    """Finds splits and classes while files go by, whose order is not known and which are seen once.

    Args:
        path: The source, for messages.
        train: The training split's folder (or folders, `a/b`), at any depth; None: the classes lie at the top, which
            is the deepest folder that holds everything.
        test: The test split's folder; None: there is none.
        classes: Classes wanted, in order; None: all, sorted.
    """

    def __init__(self, path: Path, train: str | None, test: str | None, classes: list[str] | None) -> None:
        self.path, self.wanted = path, classes
        named = {"train": train, "test": test}
        self.named = {split: Path(folder).parts for split, folder in named.items() if folder is not None}
        self.train_at_top = train is None
        self.folders: dict[Parts, tuple[str, Parts] | None] = {}  # folder to its split and the split's root
        self.holders: set[Parts] = set()  # folders in which an image lies

    def note(self, folder: Parts) -> tuple[str, Parts] | None:
        """Remembers a folder, so that a class without images is found, and gives its split and the split's root."""
        if folder not in self.folders:
            self.folders[folder] = self._split_of(folder)
        return self.folders[folder]

    def wants(self, image: Parts) -> bool:
        """Whether this image may be needed; `resolve` decides."""
        self.holders.add(image[:-1])
        place = self.note(image[:-1])
        if place is None:
            return False
        split, root = place
        if self.wanted is None:
            return True
        if split == "train" and self.train_at_top:
            return not set(self.wanted).isdisjoint(image[:-1])
        return len(image) > len(root) + 1 and image[len(root)] in self.wanted

    def resolve(self, images: Iterable[Parts], *, warn: bool = True) -> Placed:
        """Places the images, when all has been seen.

        Args:
            warn: Say in the log which classes have no test images.

        Raises:
            DataError: If a split's folder is not there or is there twice, a class has no training images, or one is
                in the test split alone.
        """
        roots = {split: self._root(split) for split in self._splits()}
        found: dict[str, dict[str, list[Parts]]] = {split: {} for split in roots}
        stray = []
        for image in images:
            split, _ = self.folders[image[:-1]] or ("", ())
            depth = len(roots[split])
            if len(image) < depth + 2:
                stray.append(image)
            elif self.wanted is None or image[depth] in self.wanted:
                found[split].setdefault(image[depth], []).append(image)
        return Placed(self._classes(roots, found, warn), found, stray)

    def found(self) -> str:
        """Some of the folders seen, for messages."""
        folders = sorted({printable("/".join(folder[:2])) for folder in self.folders if folder})
        more = f" and {len(folders) - 8} more" if len(folders) > 8 else ""
        return f"folders {', '.join(folders[:8])}{more}" if folders else "no folders"

    def _splits(self) -> list[str]:
        return ["train", *(split for split in self.named if split != "train")]

    def _split_of(self, folder: Parts) -> tuple[str, Parts] | None:
        # The outermost match counts, so that a class can have a split's name: test/train/1.png.
        for start in range(len(folder)):
            for split, named in sorted(self.named.items(), key=lambda item: -len(item[1])):
                if folder[start : start + len(named)] == named:
                    return split, folder[: start + len(named)]
        return ("train", ()) if self.train_at_top else None

    def _root(self, split: str) -> Parts:
        if split == "train" and self.train_at_top:
            return self._top()
        name = "/".join(self.named[split])
        roots = sorted({place[1] for place in self.folders.values() if place is not None and place[0] == split})
        if not roots:
            other = "the classes lie at the top" if split == "train" else "split some training images off"
            raise DataError(
                f"{self.path}: no folder `{name}` for `{split}`. Found {self.found()}. "
                f"Set `{split}` to one of them, or to null: {other}."
            )
        if len(roots) > 1:
            first, second = ("/".join(root) for root in roots[:2])
            raise DataError(
                f"{self.path}: `{split}: {name}` is ambiguous, since there are `{first}` and `{second}`. "
                f"Set `{split}: {first}`, or a folder that is there once."
            )
        return roots[0]

    def _top(self) -> Parts:
        """The deepest folder that holds every class: of a single class's folder, the one above."""
        folders = [folder for folder in self.holders if folder and self.folders[folder] == ("train", ())]
        if not folders:
            return ()
        first, last = min(folders), max(folders)
        depth = next(
            (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
        )
        return first[: depth if depth < max(map(len, folders)) else depth - 1]

    def _classes(self, roots: dict[str, Parts], found: dict[str, dict[str, list[Parts]]], warn: bool) -> list[str]:
        seen = self._seen("train", roots)
        classes = sorted(seen) if self.wanted is None else self.wanted
        where = f"in `{'/'.join(roots['train'])}`" if roots["train"] else "at the top"
        if not classes:
            raise DataError(f"{self.path}: no class's folder {where}. Found {self.found()}.")
        for name in classes:
            if name not in seen:
                raise DataError(f"{self.path}: no class `{name}` {where}. {suggest(name, seen)}")
            if name not in found["train"]:
                raise DataError(
                    f"{self.path}: class `{printable(name)}` has no images {where}. "
                    "Add some, remove the folder, or name the classes you want in `classes`."
                )
        if "test" in found:
            if extra := sorted(set(found["test"]) - set(classes)):
                raise DataError(
                    f"{self.path}: class `{printable(extra[0])}` is in `{'/'.join(roots['test'])}` but not {where}. "
                    "Add training images, or name the classes you want in `classes`."
                )
            if not found["test"]:
                raise DataError(f"{self.path}: no images of these classes in `{'/'.join(roots['test'])}`.")
            if warn and (bare := sorted(set(classes) - set(found["test"]))):
                log.warning("%s: no test images of %s", self.path, ", ".join(map(printable, bare)))
        return list(classes)

    def _seen(self, split: str, roots: dict[str, Parts]) -> set[str]:
        """Names of the classes of a split that have a folder, with images or without."""
        root = roots[split]
        return {
            folder[len(root)]
            for folder, place in self.folders.items()
            if place is not None and place[0] == split and len(folder) > len(root) and folder[: len(root)] == root
        }
