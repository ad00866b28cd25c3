"""The protocol `detection`: boxes in px of each image, figures that anyone can compute again, and odd test splits."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from detection_stand_ins import CLASSES, Answer, Marked, Oracle, Scenes, dataset_of

from tessera import registry
from tessera.detection import protocol as page
from tessera.detection.protocol import Detection
from tessera.errors import DataError, StudyError
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.protocols.base import Evaluation, Measured
from tessera.protocols.options import DetectionOptions
from tessera.training.compute import Compute

CPU = Compute(torch.device("cpu"), "float32")
SIZES = [(64, 128), (32, 32), (100, 50)]  # height, width
MARKED: list[list[Marked]] = [
    [([0, 0, 64, 64], 0, False), ([64, 0, 128, 64], 1, False)],
    [([8, 8, 24, 24], 0, False)],
    [([0, 0, 50, 50], 1, True)],
]
# In px of the 32 x 32 that the detector sees.
ANSWERS: list[list[Answer]] = [
    [([0, 0, 16, 32], 0.9, 0), ([16, 0, 40, 32], 0.8, 1)],
    [([-4, 8, 20, 24], 0.95, 0), ([8, 8, 24, 24], 0.4, 0)],
    [([0, 0, 32, 16], 0.99, 1), ([0, 16, 32, 32], 0.5, 2)],
]


def evaluate(
    answers: list[list[Answer]] = ANSWERS, sizes: Any = SIZES, marked: Any = MARKED, **options: Any
) -> Evaluation:
    dataset = dataset_of(Scenes(sizes, marked))
    protocol = Detection(DetectionOptions(**options))
    return protocol.evaluate(Measured(Oracle(answers), dataset.normalization), dataset, None, CPU, 0)


def test_boxes_are_scaled_back_to_each_image_and_clipped() -> None:
    arrays = evaluate().arrays
    assert arrays["image"].tolist() == [0, 0, 1, 1, 2, 2]
    assert arrays["boxes"].tolist() == [
        [0, 0, 64, 64], [64, 0, 128, 64],
        [0, 8, 20, 24], [8, 8, 24, 24],
        [0, 0, 50, 50], [0, 50, 50, 100],
    ]  # fmt: skip
    assert arrays["scores"] == pytest.approx([0.9, 0.8, 0.95, 0.4, 0.99, 0.5])
    assert arrays["labels"].tolist() == [0, 1, 0, 0, 1, 2]


def test_metrics_are_those_of_the_options() -> None:
    first, again = evaluate(), evaluate()
    assert [*first.metrics] == [figure.name for figure in DetectionOptions.reports]
    assert first.metrics == again.metrics
    assert first.files == again.files
    assert all(
        np.array_equal(first.arrays[name], again.arrays[name], equal_nan=name[:3] == "ap_") for name in first.arrays
    )


def test_figures_by_hand() -> None:
    # Class 0: surest first, 0.95 overlaps by 192 of 384 px, exactly a half, and hits; 0.9 hits; 0.4 is a duplicate.
    # Class 1: the difficult one is ignored, so one of one. Class 2 has no object.
    found = evaluate()
    assert found.metrics == {"map_voc07": 100.0, "map_area": 100.0}
    strict = evaluate(iou=0.6)
    # Now 0.95 is wrong: precision 1 / 2 at the first hit and 2 / 3 at the second, whose envelope is 2 / 3 throughout.
    assert strict.metrics == pytest.approx({"map_voc07": 250 / 3, "map_area": 250 / 3})
    assert strict.arrays["ap_area"] == pytest.approx([200 / 3, 100.0, np.nan], nan_ok=True)


def test_predictions_suffice_to_count_again() -> None:
    arrays = evaluate(iou=0.6).arrays
    for name, kind in {
        "image": np.int64, "boxes": np.float32, "scores": np.float32, "labels": np.int64, "truth_image": np.int64,
        "truth_boxes": np.float32, "truth_labels": np.int64, "truth_difficult": np.bool_, "image_sizes": np.int64,
        "ap_voc07": np.float64, "ap_area": np.float64, "class_objects": np.int64,
    }.items():  # fmt: skip
        assert arrays[name].dtype == kind, name
    assert arrays["class_names"].tolist() == list(CLASSES)
    assert arrays["image_names"].tolist() == ["scene 0", "scene 1", "scene 2"]
    assert arrays["image_sizes"].tolist() == [list(size) for size in SIZES]
    assert arrays["truth_image"].tolist() == [0, 0, 1, 2]
    assert arrays["truth_difficult"].tolist() == [False, False, False, True]
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as read:
        assert set(read.files) == set(arrays)
        # The area again, from the curve's points alone.
        for label, objects in enumerate(read["class_objects"]):
            mine = read["curve_class"] == label
            recall, precision = read["curve_recall"][mine], read["curve_precision"][mine]
            envelope = [precision[recall >= r].max() for r in recall]
            area = 100 * np.sum(np.diff(recall, prepend=0.0) * envelope) if objects else np.nan
            assert area == pytest.approx(read["ap_area"][label], nan_ok=True)


def test_averages_of_each_class_are_in_a_file_too() -> None:
    rows = list(csv.DictReader(io.StringIO(evaluate(iou=0.6).files["per_class.csv"].decode())))
    assert [row["class"] for row in rows] == list(CLASSES)
    assert [row["objects"] for row in rows] == ["2", "1", "0"]
    assert [row["detections"] for row in rows] == ["3", "1", "1"]
    assert [row["found"] for row in rows] == ["2", "1", "0"]
    assert float(rows[0]["ap_voc07"]) == pytest.approx(200 / 3, abs=1e-6)
    assert (rows[2]["ap_voc07"], rows[2]["ap_area"]) == ("", "")


NOTHING: list[list[Answer]] = [[], [], []]


@pytest.mark.parametrize(
    ("answers", "marked", "expected"),
    [
        (NOTHING, MARKED, 0.0),
        (NOTHING, [[], [], []], None),
        (ANSWERS, [[], [], []], None),
        (ANSWERS, [[], [], [([0, 0, 50, 50], 1, True)]], None),
    ],
)
def test_odd_test_splits(answers: Any, marked: Any, expected: float | None) -> None:
    found = evaluate(answers, marked=marked)
    assert found.metrics == {"map_voc07": expected, "map_area": expected}
    text = found.files["examples/examples.json"].decode()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    json.dumps(found.metrics, allow_nan=False)
    assert found.arrays["boxes"].shape[1:] == found.arrays["truth_boxes"].shape[1:] == (4,)


def test_one_image() -> None:
    found = evaluate(ANSWERS[:1], SIZES[:1], MARKED[:1])
    assert found.metrics == {"map_voc07": 100.0, "map_area": 100.0}


def test_batches_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate()
    monkeypatch.setattr(page, "BATCH", 2)
    torch.set_num_threads(2)
    parts = evaluate()
    assert all(np.array_equal(whole.arrays[name], parts.arrays[name]) for name in ("image", "boxes", "scores"))


def test_the_network_stays_as_it_is() -> None:
    network, dataset = Oracle(ANSWERS).train(), dataset_of(Scenes(SIZES, MARKED))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Detection(DetectionOptions()).evaluate(Measured(network, dataset.normalization), dataset, None, CPU, 0)
    assert not network.training
    assert network.batches == [3]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_no_label_of_a_training_image_is_read() -> None:
    protocol = registry.load("protocol", "detection")(DetectionOptions())
    assert protocol.labeled(None, 0.1, 0) is None


def test_what_does_not_fit_is_refused() -> None:
    dataset = dataset_of(Scenes(SIZES, MARKED))
    protocol = Detection(DetectionOptions())
    empty = dataset_of(Scenes([], []))
    with pytest.raises(DataError, match="the test split has no images"):
        protocol.evaluate(Measured(Oracle([]), dataset.normalization), empty, None, CPU, 0)
    with pytest.raises(DataError, match="the network tells 2 classes, but the dataset has 3"):
        protocol.evaluate(Measured(Oracle(ANSWERS, 2), dataset.normalization), dataset, None, CPU, 0)
    with pytest.raises(StudyError, match="`detection` measures detectors, but ResNet8 finds no objects"):
        protocol.evaluate(Measured(ResNet8(ResNet8Options()), dataset.normalization), dataset, None, CPU, 0)  # type: ignore[arg-type]


def test_no_image_of_people_is_kept() -> None:
    dataset = dataset_of(Scenes(SIZES, MARKED))
    protocol = Detection(DetectionOptions())
    measured = Measured(Oracle(ANSWERS), dataset.normalization)
    shown, people = (
        protocol.evaluate(measured, replace(dataset, shows_people=word), None, CPU, 0) for word in (False, True)
    )
    assert people.metrics == shown.metrics
    assert any(name.endswith(".jpg") for name in shown.files)
    assert not any(name.endswith(".jpg") for name in people.files)
    about = json.loads(people.files["examples/examples.json"])
    assert (about["images"], about["ordinary"], about["mistakes"]) == ([], [], [])
