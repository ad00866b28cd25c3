"""What a tree or an archive in Pascal VOC form holds: annotations, lists of images, and images."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tessera.data.archives import Entry, encoded, entries, name_in
from tessera.data.datasets.layout import Parts, ignored, is_image
from tessera.data.datasets.voc_annotations import Annotation, PassedOver, Size, parse_annotation
from tessera.data.decode import Encoded
from tessera.data.formats import FORMATS
from tessera.data.reading import MOST_ANNOTATION, MOST_LIST, UnfitFileError, refuse_unless_regular
from tessera.errors import DataError
from tessera.registry import suggest

ANNOTATIONS, IMAGES, LISTS = ("Annotations",), ("JPEGImages",), ("ImageSets", "Main")


class Photo(NamedTuple):
    """An image of the source.

    Attributes:
        number: Its place among the source's images.
        size: Height and width, px; None where it cannot be decoded, and in a tree, where it is not yet read.
    """

    parts: Parts
    number: int
    size: Size | None


class Pair(NamedTuple):
    """An image, its annotation, and what a message calls the latter."""

    photo: Photo
    annotation: Annotation
    called: str


@dataclass
class _Found:
    """What lies in one folder that holds `Annotations`, by names without suffix."""

    annotations: dict[str, tuple[Parts, Annotation | ValueError]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    photos: dict[str, list[Photo]] = field(default_factory=dict)


class VocForm:
    """A source, seen once; of its images only the sizes are read.

    Args:
        path: Folder or archive.
        passed_over: Takes what is not followed, and what does not fit together.

    Attributes:
        names: Of the annotations, sorted.
        lists: Name to its lines.

    Raises:
        DataError: If it holds no annotations, or more than one folder of them.
    """

    def __init__(self, path: Path, passed_over: PassedOver) -> None:
        self.path, self.passed_over = path, passed_over
        self.called = name_in(path)
        found: dict[Parts, _Found] = {}
        folders: set[str] = set()
        number = 0
        for entry in entries(path):
            if ignored(entry.parts):
                continue
            if entry.read is not None:
                folders.add("/".join(entry.parts[:-1][:2]))
            if entry.refused is not None:
                passed_over.add(f"{self.called(entry.parts)}: {entry.refused}", "Put the file itself there.")
            elif entry.read is None:
                continue
            elif (place := _below(entry.parts, IMAGES)) is not None and is_image(entry.parts):
                size = _size(entry.read) if entry.in_order else None
                photos = found.setdefault(place[0], _Found()).photos.setdefault(_stem(place[1]), [])
                photos[:] = [photo for photo in photos if photo.parts != entry.parts]  # an archive's last one counts
                photos.append(Photo(entry.parts, number, size))
                number += 1
            elif (place := _below(entry.parts, ANNOTATIONS)) is not None and entry.parts[-1].lower().endswith(".xml"):
                of = found.setdefault(place[0], _Found())
                of.annotations[_stem(place[1])] = entry.parts, _parsed(entry.read)
            elif (place := _below(entry.parts, LISTS)) is not None and entry.parts[-1].lower().endswith(".txt"):
                lines = io.TextIOWrapper(io.BytesIO(entry.read(MOST_LIST)), "utf-8-sig", "backslashreplace")
                found.setdefault(place[0], _Found()).lists[_stem(place[1])] = [
                    s for line in lines if (s := line.strip())
                ]
        self._found = self._only({root: of for root, of in found.items() if of.annotations}, folders)

    @property
    def names(self) -> list[str]:
        return sorted(self._found.annotations)

    @property
    def lists(self) -> dict[str, list[str]]:
        return self._found.lists

    def listed(self, split: str, name: str) -> list[str]:
        """Names of the images of a list, each once.

        Args:
            split: For which it is; for messages.

        Raises:
            DataError: If there is no such list, or it is empty.
        """
        file = "/".join((*LISTS, f"{name}.txt"))
        other = ", or to null: some training images are split off" if split == "test" else ""
        remedy = f"Set `{split}` to another list{other}. {suggest(name, self.lists)}"
        if name not in self.lists:
            raise DataError(f"{self.path}: no list `{file}` for `{split}`. {remedy}")
        if not self.lists[name]:
            raise DataError(f"{self.path}: the list `{file}` for `{split}` is empty. {remedy}")
        return list(dict.fromkeys(map(self._named, self.lists[name])))

    def annotation(self, name: str) -> Annotation:
        """What an annotation says.

        Raises:
            ValueError: If it cannot be read; the message is the reason.
        """
        _, parsed = self._found.annotations[name]
        if isinstance(parsed, ValueError):
            raise parsed
        return parsed

    def pair(self, name: str) -> Pair | None:
        """The annotation of this name and its image; None where something of it is missing or damaged.

        Raises:
            DataError: If that ends the preparation.
        """
        if name not in self._found.annotations:
            what = f"{self.path}: image `{name}` is in a list, but has no `{ANNOTATIONS[0]}/{name}.xml`"
            self.passed_over.add(what, "Add one, without objects if it shows none, or take the image off the list.")
            return None
        called = self.called(self._found.annotations[name][0])
        try:
            annotation = self.annotation(name)
        except ValueError as error:
            self.passed_over.add(f"{called}: {error}", "Correct or remove it.")
            return None
        if (photo := self._photo(name, annotation.filename)) is None:
            what = f"{called}: its image, `{annotation.filename or name}`, is not in `{IMAGES[0]}`"
            self.passed_over.add(what, "Add the image, or remove the annotation.")
            return None
        return Pair(photo, annotation, called)

    def size(self, photo: Photo) -> Size | None:
        """Height and width, px; None where it cannot be decoded."""
        return size_of(self.path.joinpath(*photo.parts)) if self.path.is_dir() else photo.size

    def encoded(self, photos: list[Photo], start: int) -> Iterator[Encoded]:
        """The images from the one at `start` on, read again.

        Args:
            photos: In the order of the source.

        Raises:
            DataError: If the source has changed.
        """
        number, row = -1, 0
        for entry in entries(self.path):
            if row == len(photos):
                return
            if not _is_photo(entry):
                continue
            number += 1
            if number == photos[row].number:
                if entry.parts != photos[row].parts:
                    raise DataError(f"{self.called(entry.parts)}: came while the data were read. Run it again.")
                if row >= start:
                    yield encoded(self.called(entry.parts), entry)
                row += 1

    def _only(self, found: dict[Parts, _Found], folders: set[str]) -> _Found:
        if not found:
            seen = sorted(folders - {""})
            more = f" and {len(seen) - 8} more" if len(seen) > 8 else ""
            raise DataError(
                f"{self.path}: holds no `{ANNOTATIONS[0]}/*.xml`. Found "
                + (f"folders {', '.join(seen[:8])}{more}." if seen else "no folders.")
                + " A set in Pascal VOC form has `Annotations`, `JPEGImages` and maybe `ImageSets/Main`."
            )
        if len(found) > 1:
            first, second = ("/".join(root) or "." for root in sorted(found)[:2])
            raise DataError(
                f"{self.path}: holds {len(found)} sets in Pascal VOC form, `{first}` and `{second}`"
                f"{' and others' if len(found) > 2 else ''}. Set `path` to one of them (unpack an archive first)."
            )
        return next(iter(found.values()))

    def _named(self, line: str) -> str:
        """The name that a line gives: VOC's lists of one class have a number after it, others a suffix."""
        before, _, last = line.rpartition(" ")
        for name in (line, before.strip() if last in ("-1", "0", "1") else line, _stem(line.split("/"))):
            if name in self._found.annotations or name in self._found.photos:
                return name
        return line

    def _photo(self, name: str, filename: str | None) -> Photo | None:
        photos = self._found.photos.get(name) or self._found.photos.get(_stem((filename or "").split("/"))) or []
        # Where a name has several suffixes, the one that the annotation asks for.
        return next((photo for photo in photos if photo.parts[-1] == filename), next(iter(photos), None))


def size_of(file: Path) -> Size | None:
    """Height and width of an image, px, by its first bytes; None where it cannot be decoded, or is not there."""
    try:
        refuse_unless_regular(file)
        with Image.open(file, formats=FORMATS) as image:
            return image.height, image.width
    except Exception:  # Pillow raises many kinds; packing says which
        return None


def _size(read: Callable[[], bytes]) -> Size | None:
    try:
        data = read()
    except UnfitFileError:  # as above
        return None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.height, image.width
    except Exception:
        return None


def _parsed(read: Callable[..., bytes]) -> Annotation | ValueError:
    try:
        return parse_annotation(read(MOST_ANNOTATION))
    except UnfitFileError as error:
        return ValueError(error.reason)
    except ValueError as error:
        return ValueError(*error.args)  # without its traceback, which keeps what was read


def _is_photo(entry: Entry) -> bool:
    if ignored(entry.parts) or entry.refused is not None or entry.read is None:
        return False
    return is_image(entry.parts) and _below(entry.parts, IMAGES) is not None


def _below(parts: Parts, folder: Parts) -> tuple[Parts, Parts] | None:
    """What is above a folder, and the rest below it; None where the file does not lie in such a folder."""
    for start in range(len(parts) - len(folder)):
        if parts[start : start + len(folder)] == folder:
            return parts[:start], parts[start + len(folder) :]
    return None


def _stem(parts: Parts | list[str]) -> str:
    name = "/".join(parts)
    return name.rpartition(".")[0] or name
