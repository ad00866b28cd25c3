"""Which image a file is, or which map of which image, by its name and the folders it lies in. Torch-free."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import NamedTuple

from tessera.data.datasets.layout import Parts, is_image
from tessera.data.reading import printable
from tessera.errors import DataError

IMAGE = ""  # in place of a column's name
SPLITS = ("train", "test")
MOST_FOLDERS = 8  # that a message names


class Place(NamedTuple):
    """Where a file belongs.

    Attributes:
        column: Of the labels; `IMAGE` of an image.
        name: Of the image, the same of its maps.
    """

    split: str
    column: str
    name: str


class Sample(NamedTuple):
    """An image and its maps: column to file; `IMAGE` to that of the image."""

    name: str
    files: Mapping[str, Parts]


class DenseLayout(ABC):
    """Finds images and their maps while files go by, in any order.

    Args:
        path: The source, for messages.
        columns: Label columns wanted.
        may_lack: Columns without which an image may be.
        has_test: Whether there is a test split.
    """

    def __init__(self, path: Path, columns: Iterable[str], may_lack: Set[str], has_test: bool) -> None:
        self.path, self.columns, self.may_lack = path, tuple(columns), may_lack
        self.splits = SPLITS if has_test else SPLITS[:1]
        self.found: dict[Place, Parts] = {}
        self.folders: dict[Parts, None] = {}
        self.twice: tuple[Parts, Parts] | None = None

    @abstractmethod
    def place(self, parts: Parts) -> Place | None:
        """Where a file belongs; None where it is none of those that are wanted."""

    @abstractmethod
    def called(self, split: str, column: str) -> str:
        """Where the files of a column lie, for messages."""

    def remedy(self, split: str, column: str) -> str:
        """What to do where a split has no file of a column at all, for messages."""
        otherwise = "correct `path`" if column == IMAGE else "leave the column out of `maps`"
        return f"Complete it, or {otherwise}."

    def without(self, column: str) -> str:
        """What else to do where some images of a split have no map, for messages."""
        return "or leave the column out"

    def note(self, parts: Parts) -> bool:
        """Remembers a file, and says whether it is wanted."""
        self.folders.setdefault(parts[:-1])
        place = self.place(parts)
        if place is None:
            return False
        known = self.found.setdefault(place, parts)
        if known != parts and self.twice is None:  # of one path, an archive's later file counts
            self.twice = known, parts
        return True

    def resolve(self) -> dict[str, list[Sample]]:
        """Images of each split with their maps, in the order of names, when all files have been seen.

        Raises:
            DataError: If a split has no images, a column no maps, an image lacks one, or two files have one place.
        """
        if self.twice is not None:
            first, second = (printable("/".join(parts)) for parts in self.twice)
            raise DataError(f"{self.path}: `{first}` and `{second}` are of one name, up to the suffix. Remove one.")
        by_split: dict[str, dict[str, dict[str, Parts]]] = {split: {} for split in self.splits}
        for place, parts in self.found.items():
            by_split[place.split].setdefault(place.name, {})[place.column] = parts
        return {
            split: self._samples(split, {name: names[name] for name in sorted(names)})
            for split, names in by_split.items()
        }

    def alone(self, samples: Mapping[str, list[Sample]]) -> Iterator[Parts]:
        """Maps whose image is not there."""
        used = {(split, sample.name) for split, of in samples.items() for sample in of}
        return (parts for place, parts in self.found.items() if (place.split, place.name) not in used)

    def _samples(self, split: str, names: Mapping[str, Mapping[str, Parts]]) -> list[Sample]:
        samples = [Sample(name, files) for name, files in names.items() if IMAGE in files]
        if not samples:
            raise DataError(
                f"{self.path}: no images of split `{split}`, {self.called(split, IMAGE)}. Found {self._folders()}. "
                f"{self.remedy(split, IMAGE)}"
            )
        for column in self.columns:
            if column in self.may_lack:
                continue
            lacking = [sample for sample in samples if column not in sample.files]
            others = (files[column] for files in names.values() if column in files and IMAGE not in files)
            other = next(others, None)
            if len(lacking) == len(samples) and other is None:
                raise DataError(
                    f"{self.path}: no maps of `{column}` for split `{split}`, {self.called(split, column)}. Found "
                    f"{self._folders()}. {self.remedy(split, column)}"
                )
            if lacking:
                image = printable("/".join(lacking[0].files[IMAGE]))
                more = f" ({len(lacking)} such images)" if len(lacking) > 1 else ""
                unused = f", and `{printable('/'.join(other))}` is of no image" if other is not None else ""
                rename = "Rename the maps as their images" if other is not None else "Add it"
                raise DataError(
                    f"{self.path}: `{image}` has no map of `{column}`{more}: there is none of its name, "
                    f"{self.called(split, column)}{unused}. {rename}, remove the image, {self.without(column)}."
                )
        return samples

    def _folders(self) -> str:
        for depth in (3, 2, 1):  # as deep as all can be named
            folders = sorted({printable("/".join(folder[:depth])) for folder in self.folders if folder})
            if len(folders) <= MOST_FOLDERS:
                break
        more = f" and {len(folders) - MOST_FOLDERS} more" if len(folders) > MOST_FOLDERS else ""
        return f"folders {', '.join(folders[:MOST_FOLDERS])}{more}" if folders else "no folders"


class FolderLayout(DenseLayout):
    """`[…/]<split>/<folder>/[…/]NAME.*` or `[…/]<folder>/<split>/[…/]NAME.*`.

    Args:
        path: The source, for messages.
        train: Folder of the training split; None: there is none of either split.
        test: Folder of the test split; None: there is no such split.
        images: Folder of the images.
        folders: That of each column's maps.
        may_lack: Columns without which an image may be.
    """

    def __init__(
        self,
        path: Path,
        train: str | None,
        test: str | None,
        images: str,
        folders: Mapping[str, str],
        may_lack: Set[str],
    ) -> None:
        super().__init__(path, sorted(folders), may_lack, test is not None)
        self.split_folders = {"train": train} | ({"test": test} if test is not None else {})
        self.column_folders = {IMAGE: images, **folders}
        # The longer of two that fit counts: `depth/filled` before `depth`.
        self.chains = sorted(
            (
                (chain, split, column)
                for split, split_folder in self.split_folders.items()
                for column, folder in self.column_folders.items()
                for chain in _both_ways(split_folder, folder)
            ),
            key=lambda item: (-len(item[0]), item),
        )

    def place(self, parts: Parts) -> Place | None:
        above = parts[:-1]
        if not (is_image(parts) or parts[-1].lower().endswith(".npy")):
            return None
        for start in range(len(above)):
            for chain, split, column in self.chains:
                if above[start : start + len(chain)] == chain:
                    rest = (*above[:start], *above[start + len(chain) :], parts[-1].rpartition(".")[0])
                    return Place(split, column, "/".join(rest))
        return None

    def called(self, split: str, column: str) -> str:
        ways = ("/".join(way) for way in _both_ways(self.split_folders[split], self.column_folders[column]))
        return "in " + " or ".join(f"`{way}`" for way in ways)


class OwnLayout(FolderLayout):
    """The same of a tree of one's own, whose folders are options."""

    def remedy(self, split: str, column: str) -> str:
        if column != IMAGE:
            return f"Add them, correct `maps.{column}.folder`, or leave the column out."
        if split == "test":
            return "Correct `test`, or set it to null, so that some images are split off."
        if self.split_folders["train"] is None:
            return "Correct `images`."
        return "Correct `images` or `train`, or set `train` and `test` to null where no folders divide the images."

    def without(self, column: str) -> str:
        return f"set `maps.{column}.absent` to none, or leave the column out"


def _both_ways(split: str | None, folder: str) -> list[Parts]:
    above, below = () if split is None else Path(split).parts, Path(folder).parts
    return [(*above, *below)] if split is None else [(*above, *below), (*below, *above)]


class CityscapesLayout(DenseLayout):
    """`[…/]<package>/<split>/<city>/<city>_<number>_<number>_<ending>`; the official `val` is for testing."""

    ENDINGS: Mapping[str, tuple[str, str]] = {
        IMAGE: ("leftImg8bit", "_leftImg8bit.png"),
        "segmentation": ("gtFine", "_gtFine_labelIds.png"),
        "parts": ("gtFinePanopticParts", "_gtFinePanopticParts.tif"),
        "disparity": ("disparity", "_disparity.png"),
    }
    FOLDERS: Mapping[str, str] = {"train": "train", "test": "val"}
    SAME: Mapping[str, str] = {"inverse_depth": "disparity"}  # columns that are made of another's files

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        super().__init__(path, sorted({self.SAME.get(column, column) for column in columns}), frozenset(), True)

    def place(self, parts: Parts) -> Place | None:
        for split, folder in self.FOLDERS.items():
            if parts[-3:-2] != (folder,):
                continue
            for column in (IMAGE, *self.columns):
                package, ending = self.ENDINGS[column]
                if parts[-4:-3] == (package,) and parts[-1].endswith(ending):
                    return Place(split, column, f"{parts[-2]}/{parts[-1].removesuffix(ending)}")
        return None

    def called(self, split: str, column: str) -> str:
        package, ending = self.ENDINGS[column]
        return f"`{package}/{self.FOLDERS[split]}/<city>/*{ending}`"
