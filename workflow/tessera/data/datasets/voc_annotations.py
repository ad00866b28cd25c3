"""Annotations in Pascal VOC form: what one says, and what becomes of it on its image."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch

from tessera.data.detection import Objects, StoredObjects
from tessera.data.reading import printable
from tessera.errors import DataError
from tessera.registry import suggest

log = logging.getLogger("tessera")

CORNERS = ("xmin", "ymin", "xmax", "ymax")
DIFFICULT = {"": False, "0": False, "false": False, "unspecified": False, "1": True, "true": True}
Size = tuple[int, int]  # height and width, px


class Marked(NamedTuple):
    """An object as it is written.

    Attributes:
        number: The how manieth of its annotation, from 1.
        corners: x and y of the first and of the last pixel, both counted from 1 and both inside.
        wrong: Why it cannot be used; None where nothing is wrong so far.
    """

    number: int
    name: str
    corners: tuple[float, float, float, float]
    difficult: bool
    wrong: str | None = None


class Annotation(NamedTuple):
    """What an annotation says.

    Attributes:
        filename: Of its image, as it says.
        size: Of the image, as it says; None where it does not.
    """

    filename: str | None
    size: Size | None
    objects: list[Marked]


class PassedOver:
    """What cannot be used: the first such thing ends the preparation, or all are passed over.

    Attributes:
        lines: What was passed over, each with its reason and remedy.
    """

    def __init__(self, damaged: Literal["refuse", "skip"]) -> None:
        self.damaged = damaged
        self.lines: list[str] = []

    def add(self, what: str, remedy: str) -> None:
        """Notes one.

        Raises:
            DataError: If `damaged` is `refuse`.
        """
        if self.damaged == "refuse":
            raise DataError(f"{what}. {remedy} Or set `damaged: skip`, without `strict`: such things are passed over.")
        self.lines.append(f"{what}. {remedy}")


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        # Where entities are declared, which can grow without bound or name files. No annotation needs them.
        raise ValueError("it has a DOCTYPE, which is never read")


def parse_annotation(data: bytes) -> Annotation:
    """Reads an annotation; nothing in it is expanded or followed.

    Raises:
        ValueError: If it is no annotation; the message is the reason.
    """
    try:
        root = ElementTree.fromstring(data, parser=ElementTree.XMLParser(target=_Builder()))
    except (ElementTree.ParseError, LookupError, UnicodeError) as error:  # LookupError: an unknown encoding
        raise ValueError(f"it does not parse as XML ({error})") from error
    if root.tag != "annotation":
        raise ValueError(f"it is a document of <{printable(root.tag)}>, not of <annotation>")
    found = [_marked(number, node) for number, node in enumerate(root.findall("object"), start=1)]
    return Annotation(_text(root, "filename") or None, _size(root.find("size")), found)


@dataclass
class Marker:
    """Puts the annotations of a dataset onto its images, one after the other, and keeps what they are.

    Args:
        classes: Names by label; None: all that occur, sorted.
        passed_over: Takes what cannot be used.
    """

    classes: Sequence[str] | None
    passed_over: PassedOver
    sizes: list[Size] = field(default_factory=list)
    boxes: list[list[tuple[float, float, float, float]]] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    difficult: list[list[bool]] = field(default_factory=list)
    clipped: int = 0
    resized: list[str] = field(default_factory=list)

    def add(self, annotation: Annotation, called: str, size: Size | None) -> None:
        """Takes the next image.

        Args:
            called: What a message calls the annotation.
            size: Of the image itself; None where it cannot be decoded, so that none of its objects is looked at.

        Raises:
            DataError: If an object cannot be used, and `damaged` is `refuse`.
        """
        if size is not None and annotation.size not in (None, size):
            says, has = (f"{width} x {height}" for height, width in (annotation.size or size, size))
            self.resized.append(f"{called} says {says} px, its image has {has} px")
        placed = [self._place(marked, called, size) for marked in annotation.objects] if size is not None else []
        usable = [(marked, box) for marked, box in zip(annotation.objects, placed, strict=False) if box is not None]
        self.sizes.append(size or (0, 0))
        self.boxes.append([box for _, box in usable])
        self.names.append([marked.name for marked, _ in usable])
        self.difficult.append([marked.difficult for marked, _ in usable])

    def finish(self, what: str) -> tuple[StoredObjects, list[str]]:
        """Objects of all images, and the classes.

        Args:
            what: First word of the log's lines.
        """
        occurring = {name for names in self.names for name in names}
        classes = sorted(occurring) if self.classes is None else list(self.classes)
        label_of = {name: label for label, name in enumerate(classes)}
        objects = [
            Objects(
                torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                torch.tensor([label_of[name] for name in names], dtype=torch.int64),
                torch.tensor(difficult, dtype=torch.bool),
            )
            for boxes, names, difficult in zip(self.boxes, self.names, self.difficult, strict=True)
        ]
        if self.clipped:
            log.info("%s: %d boxes left their image and were clipped to it", what, self.clipped)
        if self.resized:
            log.warning(
                "%s: the size that an annotation gives is not the image's %d times; the image is believed. The first: "
                "%s.", what, len(self.resized), self.resized[0],
            )  # fmt: skip
        return StoredObjects.joined(objects, self.sizes), classes

    def _place(self, marked: Marked, called: str, size: Size) -> tuple[float, float, float, float] | None:
        """The object's box on its image; None where it cannot be used."""
        what = f"{called}: object {marked.number}" + (f" (`{printable(marked.name)}`)" if marked.name else "")
        if marked.wrong is not None:
            self.passed_over.add(f"{what} {marked.wrong}", "Correct or remove it.")
            return None
        if self.classes is not None and marked.name not in self.classes:
            remedy = f"Correct or remove it, or change `classes`. {suggest(marked.name, self.classes)}"
            self.passed_over.add(f"{what} is of no known class", remedy)
            return None
        height, width = size
        # VOC counts pixels from 1 and takes the last one in; here, the first pixel is 0 to 1.
        whole = (marked.corners[0] - 1, marked.corners[1] - 1, marked.corners[2], marked.corners[3])
        x1, x2 = (min(max(value, 0.0), float(width)) for value in whole[::2])
        y1, y2 = (min(max(value, 0.0), float(height)) for value in whole[1::2])
        if not _has_area((x1, y1, x2, y2)):
            said = ", ".join(f"{name} {value:g}" for name, value in zip(CORNERS, marked.corners, strict=True))
            reason = "has no area" if whole[0] >= whole[2] or whole[1] >= whole[3] else "lies outside of its image"
            self.passed_over.add(f"{what} {reason} ({said}; {width} x {height} px)", "Correct or remove it.")
            return None
        self.clipped += (x1, y1, x2, y2) != whole
        return x1, y1, x2, y2


def _has_area(box: tuple[float, float, float, float]) -> bool:
    x1, y1, x2, y2 = np.array(box, dtype=np.float32)  # as they are kept
    return bool(x1 < x2 and y1 < y2)


def _marked(number: int, node: ElementTree.Element) -> Marked:
    name, box = _text(node, "name"), node.find("bndbox")
    difficult = _text(node, "difficult").lower()
    said = [_text(box, corner) if box is not None else "" for corner in CORNERS]
    corners = [_number(text) for text in said]
    wrong = None
    if not name:
        wrong = "has no <name>"
    elif box is None:
        wrong = "has no <bndbox>"
    elif not all(map(math.isfinite, corners)):
        corner, text = next(
            (c, t) for c, t, value in zip(CORNERS, said, corners, strict=True) if not math.isfinite(value)
        )
        wrong = f"has a {corner} of `{printable(text)}`, which is no number" if text else f"has no <{corner}>"
    elif difficult not in DIFFICULT:
        wrong = f"has <difficult> `{printable(difficult)}`, which is neither 0 nor 1"
    xmin, ymin, xmax, ymax = corners
    return Marked(number, name, (xmin, ymin, xmax, ymax), DIFFICULT.get(difficult, False), wrong)


def _size(node: ElementTree.Element | None) -> Size | None:
    if node is None:
        return None
    height, width = (_number(_text(node, side)) for side in ("height", "width"))
    # Some programs write 0 where they do not know.
    return (int(height), int(width)) if height > 0 and width > 0 and math.isfinite(height * width) else None


def _text(node: ElementTree.Element, tag: str) -> str:
    return " ".join((node.findtext(tag) or "").split())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
