"""Images worth a look: some ordinary ones, and those of the worst mistakes, with what was found in them."""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from tessera.data.detection import DetectionSplit
from tessera.detection.average_precision import Found, Matches, Nearest, Truth, nearest

FOLDER = "examples"
ORDINARY, FALSE, MISSED = 8, 9, 6  # images, false positives, missed objects
SHOWN = 0.3  # least score of a detection that is kept
NEAR = 0.1  # least IoU at which a detection is about an object at all
LONGER_PX = 480  # of a kept image
BYTES = 1_300_000  # of all kept images; the rest of the 1.5 MB are words

_NOTHING: dict[str, list[Any]] = {"images": [], "ordinary": [], "mistakes": []}
RIGHT, IGNORED = "right", "ignored"  # ignored: of a difficult object


def choose_examples(
    split: DetectionSplit,
    classes: Sequence[str],
    found: Found,
    truth: Truth,
    matches: Matches,
    iou: float,
    draw: bool = True,
) -> dict[str, bytes]:
    """`examples/examples.json` and the JPEGs that it names, at most 1.5 MB.

    Ordinary images are spread evenly over the test split, whatever was found in them, so that every network is shown
    on the same ones. Mistakes are the false positives with the largest scores, and the largest objects, by their share
    of the image, that no detection above `SHOWN` found; at most one of each an image.

    The kinds of mistakes follow Bolya et al., TIDE, ECCV 2020, section 2, arXiv:2008.08115, save that a box that
    overlaps an object of another class enough is of the `wrong class` whatever it overlaps of its own.

    Args:
        draw: Keep images; without, the lists are empty.

    Shape of examples.json:
        iou, threshold: what a detection needs to be right, and to be kept; classes: their names.
        images: a list of `file`, `name`, `index` in the test split, `width`, `height` (px of the JPEG, as all boxes),
            `truth`: a list of `box`, `label`, `difficult`, `found`; `detections`: a list, best first, of `box`,
            `label`, `score`, `kind`, `iou`, and `object`: the index in `truth` that the kind and the IoU are about.
            Kinds are `right`, `ignored` (a difficult object), `duplicate`, `wrong class`, `poorly placed`,
            `wrong class and place` and `background`.
        ordinary: indices of images.
        mistakes: a list of `image` and `detection` or `object`, worst first.
    """
    if not draw:
        return _files({"iou": iou, "threshold": SHOWN, "classes": list(classes), **_NOTHING}, {})
    kinds, about = judge(found, truth, matches, iou)
    shown = found.scores >= SHOWN
    seen = np.zeros(len(truth), dtype=bool)
    seen[matches.nearest.index[shown & (matches.hits | matches.ignored)]] = True
    false = _false_positives(found, kinds, shown)
    missed = _missed(split, truth, seen)
    ordinary = np.unique(np.arange(ORDINARY) * len(split) // ORDINARY).tolist()
    chosen = list(dict.fromkeys([*ordinary, *found.image[false].tolist(), *truth.image[missed].tolist()]))

    pictures = _encode([split.image(index).permute(1, 2, 0).numpy() for index in chosen])
    images: list[dict[str, Any]] = []
    places: dict[tuple[str, int], int] = {}  # of a detection or an object in its image's list
    for index, (_, (width, height)) in zip(chosen, pictures, strict=True):
        scale = np.array([width, height, width, height]) / np.array(split.size(index)[::-1] * 2)
        objects = (truth.image == index).nonzero()[0]
        detections = ((found.image == index) & shown).nonzero()[0]
        detections = detections[np.argsort(-found.scores[detections], kind="stable")]
        places |= {("object", int(row)): place for place, row in enumerate(objects)}
        places |= {("detection", int(row)): place for place, row in enumerate(detections)}
        images.append(
            {
                "file": f"{FOLDER}/{index:06d}.jpg",
                "name": split.name(index),
                "index": index,
                "width": width,
                "height": height,
                "truth": [
                    {
                        "box": _rounded(truth.boxes[row] * scale),
                        "label": classes[truth.labels[row]],
                        "difficult": bool(truth.difficult[row]),
                        "found": bool(seen[row]),
                    }
                    for row in objects
                ],
                "detections": [
                    {
                        "box": _rounded(found.boxes[row] * scale),
                        "label": classes[found.labels[row]],
                        "score": round(float(found.scores[row]), 4),
                        "kind": kinds[row],
                        "iou": round(float(about.iou[row]), 4),
                        "object": places.get(("object", int(about.index[row]))),
                    }
                    for row in detections
                ],
            }
        )
    about_images = {index: place for place, index in enumerate(chosen)}
    mistakes = [
        {"image": about_images[int(rows.image[row])], what: places[what, row]}
        for what, rows, some in (("detection", found, false), ("object", truth, missed))
        for row in some
    ]
    content = {
        "iou": iou,
        "threshold": SHOWN,
        "classes": list(classes),
        "images": images,
        "ordinary": [about_images[index] for index in ordinary],
        "mistakes": mistakes,
    }
    return _files(content, {image["file"]: data for image, (data, _) in zip(images, pictures, strict=True)})


def _files(content: dict[str, Any], pictures: dict[str, bytes]) -> dict[str, bytes]:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {f"{FOLDER}/examples.json": text.encode(), **pictures}


def judge(found: Found, truth: Truth, matches: Matches, iou: float) -> tuple[list[str], Nearest]:
    """The kind of every detection, and the object that it is about: index -1 and IoU 0 for `background`."""
    own, other = matches.nearest, nearest(found, truth, same_class=False)
    cases = {
        RIGHT: (matches.hits, own),
        IGNORED: (matches.ignored, own),
        "duplicate": (own.iou >= iou, own),
        "wrong class": (other.iou >= iou, other),
        "poorly placed": (own.iou >= NEAR, own),
        "wrong class and place": (other.iou >= NEAR, other),
    }
    conditions = [condition for condition, _ in cases.values()]
    number = np.select(conditions, np.arange(len(cases))[:, None], default=len(cases))
    index = np.select(conditions, [objects.index for _, objects in cases.values()], default=-1)
    overlap = np.select(conditions, [objects.iou for _, objects in cases.values()], default=0.0)
    names = [*cases, "background"]
    return [names[i] for i in number], Nearest(index, overlap)


def _false_positives(found: Found, kinds: Sequence[str], shown: np.ndarray) -> list[int]:
    """Rows of the worst, one an image."""
    wrong = shown & np.array([kind not in (RIGHT, IGNORED) for kind in kinds], dtype=bool)
    order = np.argsort(-found.scores, kind="stable")
    return _one_an_image(order[wrong[order]], found.image, FALSE)


def _missed(split: DetectionSplit, truth: Truth, seen: np.ndarray) -> list[int]:
    """Rows of the largest objects that nothing found, one an image."""
    missed = (~seen & ~truth.difficult).nonzero()[0]
    sides = truth.boxes[missed, 2:] - truth.boxes[missed, :2]
    pixels = np.array([np.prod(split.size(int(index))) for index in truth.image[missed]])
    return _one_an_image(missed[np.argsort(-sides.prod(1) / pixels, kind="stable")], truth.image, MISSED)


def _one_an_image(rows: np.ndarray, image: np.ndarray, number: int) -> list[int]:
    _, first = np.unique(image[rows], return_index=True)
    return [int(row) for row in rows[np.sort(first)[:number]]]


def _encode(pictures: Sequence[np.ndarray]) -> list[tuple[bytes, tuple[int, int]]]:
    """JPEGs of images (H, W, 3) uint8 with their width and height, each within its share of `BYTES`."""
    return [_encode_one(Image.fromarray(pixels), BYTES // len(pictures)) for pixels in pictures]


def _encode_one(image: Image.Image, limit: int) -> tuple[bytes, tuple[int, int]]:
    longer = LONGER_PX
    while True:
        small = image.copy()
        small.thumbnail((longer, longer), Image.Resampling.LANCZOS)
        for quality in (88, 75, 60):
            stream = io.BytesIO()
            small.save(stream, "JPEG", quality=quality, optimize=True)
            if len(data := stream.getvalue()) <= limit:
                return data, small.size
        longer = longer * 3 // 4  # noise: no quality makes it small


def _rounded(box: np.ndarray) -> list[float]:
    return [round(float(value), 1) for value in box]
