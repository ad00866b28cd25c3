"""Images worth a look: which are chosen, what is said of each box, and that they stay small."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from detection_stand_ins import CLASSES, Marked, Scenes, as_split
from PIL import Image
from torch import Tensor

from tessera.detection import examples as page
from tessera.detection.average_precision import Found, Nearest, match
from tessera.detection.examples import choose_examples, judge
from tessera.detection.protocol import objects_of

CAT: Marked = ([0, 0, 10, 10], 0, False)
HARD: Marked = ([40, 40, 50, 50], 0, True)


def found_of(*rows: tuple[int, Sequence[float], float, int]) -> Found:
    image, boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Found(
        np.array(image, np.int64), np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32), np.array(labels, np.int64),
    )  # fmt: skip


def choose(scenes: Scenes, found: Found) -> tuple[dict[str, Any], dict[str, bytes]]:
    truth = objects_of(as_split(scenes))
    files = choose_examples(as_split(scenes), CLASSES, found, truth, match(found, truth), 0.5)
    return json.loads(files["examples/examples.json"]), files


@pytest.mark.parametrize(
    ("box", "label", "kind", "iou"),
    [
        ([0, 0, 10, 9], 0, "duplicate", 0.9),  # the second: a surer one is there
        ([40, 40, 50, 50], 0, "ignored", 1.0),
        ([0, 0, 10, 8], 1, "wrong class", 0.8),
        ([0, 0, 10, 3], 0, "poorly placed", 0.3),
        ([0, 0, 10, 3], 1, "wrong class and place", 0.3),
        ([0, 0, 10, 0.9], 0, "background", 0.0),
        ([20, 20, 30, 30], 0, "background", 0.0),
    ],
)
def test_kinds_by_hand(box: list[float], label: int, kind: str, iou: float) -> None:
    truth = objects_of(as_split(Scenes([(60, 60)], [[CAT, HARD]])))
    found = found_of((0, [0, 0, 10, 10], 0.9, 0), (0, box, 0.8, label))
    kinds, about = judge(found, truth, match(found, truth), 0.5)
    assert kinds == ["right", kind]
    assert about.iou == pytest.approx([1.0, iou])
    assert about.index.tolist() == [0, {"background": -1, "ignored": 1}.get(kind, 0)]


def test_enough_of_another_class_is_a_wrong_class_whatever_of_its_own() -> None:
    truth = objects_of(as_split(Scenes([(60, 60)], [[([0, 0, 10, 4], 0, False), ([0, 0, 10, 10], 1, False)]])))
    found = found_of((0, [0, 0, 10, 10], 0.9, 0))
    kinds, about = judge(found, truth, match(found, truth), 0.5)
    assert (kinds, about.index.tolist()) == (["wrong class"], [1])


def test_nothing_found_is_no_kind() -> None:
    truth = objects_of(as_split(Scenes([(60, 60)], [[CAT]])))
    kinds, about = judge(found_of(), truth, match(found_of(), truth), 0.5)
    assert kinds == []
    assert isinstance(about, Nearest)


def test_worst_mistakes_come_first_and_one_an_image() -> None:
    scenes = Scenes([(60, 60)] * 20, [[CAT, ([20, 20, 40, 40 - i], 2, False)] for i in range(20)])
    rows = [(i, [50, 50, 60, 60], 0.5 + i / 100, 1) for i in range(20)]
    rows += [(19, [0, 50, 10, 60], 0.99, 1), (3, [0, 50, 10, 60], 0.29, 1)]
    rows += [(i, [0, 0, 10, 10], 0.9, 0) for i in range(20)]
    about, files = choose(scenes, found_of(*rows))
    images = about["images"]
    assert [images[place]["index"] for place in about["ordinary"]] == [0, 2, 5, 7, 10, 12, 15, 17]
    false = [mistake for mistake in about["mistakes"] if "detection" in mistake]
    missed = [mistake for mistake in about["mistakes"] if "object" in mistake]
    assert [images[m["image"]]["index"] for m in false] == list(range(19, 10, -1))
    scores = [images[m["image"]]["detections"][m["detection"]]["score"] for m in false]
    assert scores == pytest.approx([0.99, *(0.5 + i / 100 for i in range(18, 10, -1))], abs=1e-4)
    assert [images[m["image"]]["index"] for m in missed] == list(range(6))
    assert {images[m["image"]]["truth"][m["object"]]["label"] for m in missed} == {"bus"}
    assert set(files) == {"examples/examples.json", *(image["file"] for image in images)}
    assert len({image["index"] for image in images}) == len(images)
    shown = next(image for image in images if image["index"] == 3)["detections"]
    assert [detection["kind"] for detection in shown] == ["right", "background"]  # what is below 0.3 is left out
    assert [detection["object"] for detection in shown] == [0, None]


def test_what_only_an_unsure_box_finds_is_missed() -> None:
    about, _ = choose(Scenes([(60, 60)], [[CAT, HARD]]), found_of((0, [0, 0, 10, 10], 0.2, 0)))
    assert [truth["found"] for truth in about["images"][0]["truth"]] == [False, False]
    assert about["mistakes"] == [{"image": 0, "object": 0}]  # a difficult object is never missed


def test_boxes_are_in_px_of_the_jpeg() -> None:
    about, files = choose(
        Scenes([(300, 960)], [[([96, 30, 480, 300], 1, False)]]), found_of((0, [96, 30, 480, 300], 0.9, 1))
    )
    (image,) = about["images"]
    with Image.open(io.BytesIO(files[image["file"]])) as picture:
        assert picture.size == (image["width"], image["height"]) == (480, 150)
    expected = {"box": [48.0, 15.0, 240.0, 150.0], "label": "dog"}
    assert image["truth"] == [{**expected, "difficult": False, "found": True}]
    assert image["detections"] == [{**expected, "score": 0.9, "kind": "right", "iou": 1.0, "object": 0}]
    assert (image["name"], image["file"]) == ("scene 0", "examples/000000.jpg")


def test_small_images_stay_as_they_are() -> None:
    about, files = choose(Scenes([(20, 30)], [[]]), found_of())
    with Image.open(io.BytesIO(files[about["images"][0]["file"]])) as picture:
        assert picture.size == (30, 20)
    assert about["mistakes"] == []


class Noise(Scenes):
    """Images that no codec makes small."""

    def image(self, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(index)
        return torch.randint(256, (3, *self.sizes[index]), generator=generator, dtype=torch.uint8)


def test_an_artifact_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "BYTES", 60_000)  # as 1.3 MB are to 23 images of 480 px
    about, files = choose(Noise([(240, 240)] * 3, [[CAT]] * 3), found_of())
    assert sum(len(data) for name, data in files.items() if name.endswith(".jpg")) <= 60_000
    assert all(image["width"] < 240 for image in about["images"])


def test_a_run_repeats_its_bytes() -> None:
    scenes = Noise([(80, 60)] * 4, [[CAT]] * 4)
    found = found_of(*((i, [30, 30, 50, 50], 0.5, 1) for i in range(4)))
    (_, first), (about, again) = choose(scenes, found), choose(scenes, found)
    assert first == again
    assert Counter(len(image["detections"]) for image in about["images"]) == {1: 4}
