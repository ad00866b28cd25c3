"""Average precision of detections, as PASCAL VOC counts it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import box_iou


@dataclass(frozen=True)
class Found:
    """Detections of many images, in any order.

    Shape:
        image: (K,) int64, which image.
        boxes: (K, 4) float32, x1, y1, x2, y2 in px of the image, 0-based and continuous.
        scores: (K,) float32, larger where the detector is surer.
        labels: (K,) int64, class indices.
    """

    image: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Truth:
    """Objects of many images, in any order.

    Shape:
        image: (G,) int64, which image.
        boxes: (G, 4) float32, as those of `Found`.
        labels: (G,) int64, class indices.
        difficult: (G,) bool: finding it is neither right nor wrong.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Nearest:
    """For each detection the object of its image that it overlaps most.

    Shape:
        index: (K,) int64, of the object; -1 where it overlaps none.
        iou: (K,) float64, 0 to 1; 0 where it overlaps none.
    """

    index: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True)
class Matches:
    """What became of each detection: it hits, or is ignored, or else is a false positive.

    Shape:
        hits: (K,) bool, the first one to find an object that counts.
        ignored: (K,) bool, it found a difficult object.
        nearest: Among the objects of its class.
    """

    hits: np.ndarray
    ignored: np.ndarray
    nearest: Nearest


@dataclass(frozen=True)
class Curve:
    """Precision and recall of one class, at each of its hits. Both averages follow from these points alone: between
    two hits recall stands still and precision falls.

    Attributes:
        objects: Number of objects that count: those that are not difficult.
        detections: Number of detections that were not ignored.
        scores: (T,) float32, falling: of the hits.
        precision: (T,) float64: share of hits among the detections down to this one.
    """

    objects: int
    detections: int
    scores: np.ndarray
    precision: np.ndarray

    @property
    def recall(self) -> np.ndarray:
        """(T,) float64: share of the objects that are found, up to this hit."""
        return np.arange(1, len(self.precision) + 1) / max(1, self.objects)

    @property
    def envelope(self) -> np.ndarray:
        """(T,) float64: the largest precision at this recall or a higher one."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    def area(self) -> float | None:
        """Area under the envelope, 0 to 1, as in VOC 2010 and later; None without an object."""
        # Each hit adds one object to the recall, so that the area is made of strips of equal width.
        return float(self.envelope.sum() / self.objects) if self.objects else None

    def eleven_points(self) -> float | None:
        """Mean of the envelope at recall 0, 0.1, …, 1, between 0 and 1, as in VOC 2007; None without an object."""
        if not self.objects:
            return None
        envelope = np.append(self.envelope, 0.0)  # no precision at a recall that is not reached
        # Objects to find for each recall, in whole numbers: 3 of 10 are a recall of 0.3, which floats would miss.
        needed = [max(1, -(-tenths * self.objects // 10)) for tenths in range(11)]
        return float(np.mean([envelope[min(number - 1, len(self.precision))] for number in needed]))


def nearest(found: Found, truth: Truth, same_class: bool = True) -> Nearest:
    """The object with the largest IoU, the first one among equals.

    Boxes are continuous. VOC's own corners are whole pixels and belong to the box, which makes its areas one pixel
    wider and higher; an object's x1 and y1 are one less than VOC's here, which gives the very same IoU.

    Args:
        same_class: Look among objects of the detection's class, or else among all others.
    """
    index, iou = np.full(len(found), -1), np.zeros(len(found))
    for detections, objects in _by_image(found, truth):
        corners = (
            torch.from_numpy(boxes.astype(np.float64)) for boxes in (found.boxes[detections], truth.boxes[objects])
        )
        pairs = np.nan_to_num(box_iou(*corners).numpy())  # two boxes without area
        equal = found.labels[detections, None] == truth.labels[None, objects]
        pairs = np.where(equal if same_class else ~equal, pairs, 0.0)
        index[detections] = np.where(pairs.max(1) > 0, objects[pairs.argmax(1)], -1)
        iou[detections] = pairs.max(1)
    return Nearest(index, iou)


def match(found: Found, truth: Truth, iou: float = 0.5) -> Matches:
    """Decides on every detection, class by class over all images, the surest ones first and in order where equal.

    A detection is compared with one object alone: that of its class and image with the largest IoU. Where this is
    below `iou` the detection is wrong; where the object is difficult it is ignored; where a surer one took the object
    it is wrong, though another object may be free.

    Source: Everingham et al., IJCV 2010, section 4.2, and `VOCevaldet.m` of the development kit. No library that is
    still maintained counts so: COCO's rules (pycocotools, torchmetrics, supervision) let a detection take the next
    free object and average over 101 points; mean-average-precision asks for more than the IoU instead of at least it.

    Raises:
        ValueError: If `iou` is not above 0, at most 1.
    """
    if not 0 < iou <= 1:
        raise ValueError(f"iou must be above 0, at most 1, but is {iou}.")
    best = nearest(found, truth)
    close = best.iou >= iou
    ignored = close & np.append(truth.difficult, False)[best.index]  # the entry at -1 stands for no object
    order = np.argsort(-found.scores, kind="stable")
    candidates = order[(close & ~ignored)[order]]
    _, first = np.unique(best.index[candidates], return_index=True)
    hits = np.zeros(len(found), dtype=bool)
    hits[candidates[first]] = True
    return Matches(hits, ignored, best)


def curves(found: Found, truth: Truth, matches: Matches, num_classes: int) -> list[Curve]:
    """Precision and recall of every class, by label."""
    order = np.argsort(-found.scores, kind="stable")
    order = order[~matches.ignored[order]]
    made = []
    for label in range(num_classes):
        ranked = order[found.labels[order] == label]
        hits = matches.hits[ranked]
        precision = (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits]
        objects = int(np.sum((truth.labels == label) & ~truth.difficult))
        made.append(Curve(objects, len(ranked), found.scores[ranked][hits], precision))
    return made


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of what is known; None where nothing is: a class without an object says nothing of a detector."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _by_image(found: Found, truth: Truth) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of the detections and of the objects of each image that has both."""
    detections, objects = (np.argsort(rows.image, kind="stable") for rows in (found, truth))
    there = np.intersect1d(found.image, truth.image)
    starts, ends = (
        [np.searchsorted(rows.image[order], there, side) for rows, order in ((found, detections), (truth, objects))]
        for side in ("left", "right")
    )
    for i in range(len(there)):
        yield detections[starts[0][i] : ends[0][i]], objects[starts[1][i] : ends[1][i]]
