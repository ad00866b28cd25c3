"""Average precision against a published example, cases worked by hand, and a plain loop."""

import math
from typing import Any

import numpy as np
import pytest

from tessera.detection.average_precision import Curve, Found, Truth, curves, match, mean, nearest

# Padilla, Netto & da Silva, IWSSIP 2020, section IV: objects, then detections by falling score, each as image, x, y,
# width, height; detections with their letter there, score in percent, and whether the paper counts it as right.
OBJECTS = [
    (1, 25, 16, 38, 56), (1, 129, 123, 41, 62), (2, 123, 11, 43, 55), (2, 38, 132, 59, 45), (3, 16, 14, 35, 48),
    (3, 123, 30, 49, 44), (3, 99, 139, 47, 47), (4, 53, 42, 40, 52), (4, 154, 43, 31, 34), (5, 59, 31, 44, 51),
    (5, 48, 128, 34, 52), (6, 36, 89, 52, 76), (6, 62, 58, 44, 67), (7, 28, 31, 55, 63), (7, 58, 67, 50, 58),
]  # fmt: skip
DETECTIONS = [
    ("R", 95, True, 5, 29, 131, 72, 29), ("Y", 95, False, 7, 33, 116, 37, 49), ("J", 91, True, 3, 105, 131, 47, 47),
    ("A", 88, False, 1, 5, 67, 31, 48), ("U", 84, False, 6, 17, 155, 29, 35), ("C", 80, False, 1, 124, 9, 49, 67),
    ("M", 78, False, 4, 28, 68, 42, 67), ("F", 74, False, 2, 19, 18, 43, 35), ("D", 71, False, 2, 64, 111, 64, 58),
    ("B", 70, True, 1, 119, 111, 40, 67), ("H", 67, False, 3, 86, 63, 46, 45), ("P", 62, True, 5, 50, 38, 28, 46),
    ("E", 54, True, 2, 26, 140, 60, 47), ("X", 48, True, 7, 16, 20, 101, 88), ("N", 45, False, 4, 87, 89, 25, 39),
    ("T", 45, False, 6, 43, 48, 74, 38), ("K", 44, False, 3, 18, 148, 40, 44), ("Q", 44, False, 5, 95, 11, 53, 28),
    ("V", 43, False, 6, 95, 110, 25, 42), ("I", 38, False, 3, 160, 62, 36, 53), ("L", 35, False, 4, 83, 28, 28, 26),
    ("S", 23, False, 5, 29, 163, 72, 29), ("G", 18, True, 3, 109, 15, 77, 39), ("O", 14, False, 4, 10, 155, 60, 26),
]  # fmt: skip


def found_of(rows: list[tuple[int, list[float], float, int]]) -> Found:
    """Detections from (image, box, score, label)."""
    image, boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Found(
        np.array(image, np.int64), np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32), np.array(labels, np.int64),
    )  # fmt: skip


def truth_of(rows: list[tuple[int, list[float], int, bool]]) -> Truth:
    """Objects from (image, box, label, difficult)."""
    image, boxes, labels, difficult = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Truth(
        np.array(image, np.int64), np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64), np.array(difficult, bool),
    )  # fmt: skip


def measure(found: Found, truth: Truth, iou: float = 0.5, num_classes: int = 1) -> list[Curve]:
    return curves(found, truth, match(found, truth, iou), num_classes)


def corners(x: float, y: float, width: float, height: float) -> list[float]:
    # The example's corners belong to the box, as VOC's do: without the pixel more, G would be at 0.295.
    return [x - 1, y - 1, x + width, y + height]


def test_the_published_example() -> None:
    truth = truth_of([(image, corners(*box), 0, False) for image, *box in OBJECTS])
    found = found_of([(image, corners(*box), score / 100, 0) for _, score, _, image, *box in DETECTIONS])
    matches = match(found, truth, 0.3)
    assert {row[0] for row, hit in zip(DETECTIONS, matches.hits, strict=True) if hit} == set("RJBPEXG")
    assert matches.hits.tolist() == [row[2] for row in DETECTIONS]
    (curve,) = curves(found, truth, matches, 1)
    assert curve.area() == pytest.approx(0.2457, abs=5e-5)
    assert curve.eleven_points() == pytest.approx(0.2684, abs=5e-5)
    assert curve.recall[[0, 1, 2, 6]] == pytest.approx([0.0666, 0.1333, 0.2, 0.4666], abs=1e-4)
    assert curve.precision[[0, 1, 2, 6]] == pytest.approx([1.0, 0.6666, 0.3, 0.3043], abs=1e-4)
    reordered = np.random.default_rng(0).permutation(len(found))
    shuffled = Found(found.image[reordered], found.boxes[reordered], found.scores[reordered], found.labels[reordered])
    assert set(np.array([row[0] for row in DETECTIONS])[reordered][match(shuffled, truth, 0.3).hits]) == set("RJBPEXG")


BOX, SHIFTED, AWAY = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [50.0, 50.0, 60.0, 60.0]


@pytest.mark.parametrize(
    ("objects", "detections", "area", "eleven"),
    [
        ([(0, BOX, 0, False)], [(0, BOX, 0.9, 0)], 1.0, 1.0),
        ([(0, BOX, 0, False)], [(0, AWAY, 0.9, 0), (0, BOX, 0.8, 0)], 0.5, 0.5),
        ([(0, BOX, 0, False)], [(0, BOX, 0.9, 0), (0, SHIFTED, 0.8, 0)], 1.0, 1.0),  # a duplicate, after the last hit
        # The surer one takes the object though the other lies better: the second is a duplicate.
        ([(0, BOX, 0, False), (1, BOX, 0, False)], [(0, SHIFTED, 0.9, 0), (0, BOX, 0.8, 0), (1, BOX, 0.7, 0)],
         0.5 + 0.5 * 2 / 3, (6 + 5 * 2 / 3) / 11),
        # One of two found: recall stops at a half, and 0, …, 0.5 are six of the eleven points.
        ([(0, BOX, 0, False), (1, BOX, 0, False)], [(0, BOX, 0.9, 0)], 0.5, 6 / 11),
        ([(0, BOX, 0, False)], [(1, BOX, 0.9, 0)], 0.0, 0.0),  # the right place in another image
        ([(0, BOX, 0, False)], [], 0.0, 0.0),
        # A difficult object neither asks nor pays, even twice.
        ([(0, BOX, 0, False), (0, AWAY, 0, True)],
         [(0, AWAY, 0.9, 0), (0, AWAY, 0.8, 0), (0, BOX, 0.7, 0)], 1.0, 1.0),
        ([(0, BOX, 0, True)], [(0, BOX, 0.9, 0)], None, None),
        ([], [(0, BOX, 0.9, 0)], None, None),
        ([], [], None, None),
    ],
)  # fmt: skip
def test_cases_by_hand(objects: Any, detections: Any, area: float | None, eleven: float | None) -> None:
    (curve,) = measure(found_of(detections), truth_of(objects))
    assert curve.area() == pytest.approx(area)
    assert curve.eleven_points() == pytest.approx(eleven)


def test_a_detection_does_not_take_the_next_free_object() -> None:
    # Both overlap the left object most; VOC counts the second as wrong though the right one is free and near enough.
    left, right = [0.0, 0.0, 10.0, 10.0], [3.0, 0.0, 13.0, 10.0]
    first, second = [0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]
    found = found_of([(0, first, 0.9, 0), (0, second, 0.8, 0)])
    matches = match(found, truth_of([(0, left, 0, False), (0, right, 0, False)]))
    assert matches.hits.tolist() == [True, False]
    assert matches.nearest.index.tolist() == [0, 0]
    assert matches.nearest.iou == pytest.approx([1.0, 9 / 11])


def test_exactly_the_threshold_is_enough() -> None:
    found, truth = found_of([(0, [0, 0, 10, 5], 0.9, 0)]), truth_of([(0, BOX, 0, False)])
    assert match(found, truth, 0.5).hits.all()
    assert not match(found, truth, 0.5 + 1e-9).hits.any()
    with pytest.raises(ValueError, match="iou must be above 0, at most 1, but is 0"):
        match(found, truth, 0)


def test_equal_scores_keep_their_order() -> None:
    truth = truth_of([(0, BOX, 0, False)])
    for rows, area in (([BOX, AWAY], 1.0), ([AWAY, BOX], 0.5)):
        (curve,) = measure(found_of([(0, box, 0.5, 0) for box in rows]), truth)
        assert curve.area() == area


def test_three_of_ten_reach_a_recall_of_three_tenths() -> None:
    # As floats 3 / 10 < 0.1 + 0.1 + 0.1, and the fourth of the eleven points would be lost.
    truth = truth_of([(image, BOX, 0, False) for image in range(10)])
    for number in range(11):
        (curve,) = measure(found_of([(image, BOX, 0.9, 0) for image in range(number)]), truth)
        assert curve.eleven_points() == pytest.approx((number + 1) / 11 if number else 0.0)


def test_iou_is_that_of_whole_pixels() -> None:
    # VOC's corners belong to the box: 1, 1, 10, 10 and 6, 1, 15, 10 share five of fifteen columns.
    first, second = ([x1 - 1, y1 - 1, x2, y2] for x1, y1, x2, y2 in ([1, 1, 10, 10], [6, 1, 15, 10]))
    found = nearest(found_of([(0, first, 0.5, 0)]), truth_of([(0, second, 0, False)]))  # type: ignore[list-item]
    assert found.iou.tolist() == [1 / 3]


def test_boxes_without_area_find_nothing() -> None:
    flat = [5.0, 5.0, 5.0, 5.0]
    found = nearest(found_of([(0, flat, 0.5, 0)]), truth_of([(0, flat, 0, False), (0, BOX, 0, False)]))
    assert (found.index.tolist(), found.iou.tolist()) == ([-1], [0.0])


def test_the_mean_is_over_classes_with_objects() -> None:
    objects = [(0, BOX, 0, False), (0, AWAY, 2, False), (1, BOX, 3, True)]
    found = found_of([(0, BOX, 0.9, 0), (0, AWAY, 0.9, 1), (1, BOX, 0.9, 3)])
    by_class = measure(found, truth_of(objects), num_classes=5)
    assert [curve.area() for curve in by_class] == [1.0, None, 0.0, None, None]
    assert [curve.detections for curve in by_class] == [1, 1, 0, 0, 0]
    assert mean([curve.area() for curve in by_class]) == 0.5
    assert mean([None, None]) is None
    assert mean([]) is None


def draw(seed: int, number: int = 40, images: int = 6, num_classes: int = 3) -> tuple[Found, Truth]:
    """Objects, some of them difficult, and detections around them and elsewhere, with scores that often are equal."""
    draw = np.random.default_rng(seed)
    low = draw.integers(0, 40, (number, 2))
    boxes = np.concatenate([low, low + draw.integers(5, 30, (number, 2))], 1).astype(np.float32)
    rows = [
        (int(i), box.tolist(), int(label), bool(hard))
        for i, box, label, hard in zip(
            draw.integers(0, images, number), boxes, draw.integers(0, num_classes, number),
            draw.random(number) < 0.2, strict=True,
        )
    ]  # fmt: skip
    found = []
    for _ in range(5 * number):
        i, box, label, _ = rows[draw.integers(number)]
        label = int(draw.integers(num_classes)) if draw.random() < 0.3 else label
        jitter = (draw.normal(0, 3, 4) * (draw.random() < 0.8)).round().tolist()
        x1, y1, x2, y2 = (edge + shift for edge, shift in zip(box, jitter, strict=True))
        placed = [min(x1, x2 - 1), min(y1, y2 - 1), x2, y2]
        found.append((i, placed, round(float(draw.random()), 1), label))
    return found_of(found), truth_of(rows)


def loop(found: Found, truth: Truth, label: int, threshold: float) -> tuple[float, float]:
    """VOC's rules, one detection after the other; area and eleven points."""
    counted = sum(1 for g in range(len(truth)) if truth.labels[g] == label and not truth.difficult[g])
    taken: set[int] = set()
    points = []
    right = wrong = 0
    rows = [k for k in range(len(found)) if found.labels[k] == label]
    for k in sorted(rows, key=lambda k: -found.scores[k]):
        best, best_iou = -1, -math.inf
        for g in range(len(truth)):
            if truth.image[g] != found.image[k] or truth.labels[g] != label:
                continue
            (ax, ay, bx, by), (cx, cy, dx, dy) = found.boxes[k].tolist(), truth.boxes[g].tolist()
            shared = max(0.0, min(bx, dx) - max(ax, cx)) * max(0.0, min(by, dy) - max(ay, cy))
            iou = shared / ((bx - ax) * (by - ay) + (dx - cx) * (dy - cy) - shared)
            if iou > best_iou:
                best, best_iou = g, iou
        if best_iou >= threshold and truth.difficult[best]:
            continue
        if best_iou >= threshold and best not in taken:
            taken.add(best)
            right += 1
        else:
            wrong += 1
        points.append((right, right / (right + wrong)))
    area = sum(max((p for r, p in points if r >= n), default=0.0) for n in range(1, counted + 1)) / counted
    eleven = sum(max((p for r, p in points if 10 * r >= t * counted), default=0.0) for t in range(11)) / 11
    return area, eleven


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75])
def test_matches_a_plain_loop(seed: int, iou: float) -> None:
    found, truth = draw(seed)
    by_class = measure(found, truth, iou, num_classes=3)
    for label, curve in enumerate(by_class):
        assert (curve.area(), curve.eleven_points()) == pytest.approx(loop(found, truth, label, iou), rel=1e-12)
    assert 0.05 < np.mean([curve.area() for curve in by_class]) < 0.95


def test_properties() -> None:
    found, truth = draw(7)
    matches = match(found, truth)
    assert not (matches.hits & matches.ignored).any()
    assert len(set(matches.nearest.index[matches.hits])) == matches.hits.sum()  # no object twice
    for curve in curves(found, truth, matches, 3):
        assert (np.diff(curve.envelope) <= 0).all()
        assert (np.diff(curve.scores) <= 0).all()
        assert 0 < curve.recall[0] <= curve.recall[-1] <= 1
    # Only the order of scores counts, and a detection below all others never helps precision above it.
    other = Found(found.image, found.boxes, found.scores**3, found.labels)
    assert [c.area() for c in measure(other, truth, num_classes=3)] == [
        c.area() for c in measure(found, truth, num_classes=3)
    ]
