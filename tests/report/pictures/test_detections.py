"""Pictures of detection: what they show, in which order, and that equal artifacts are equal files."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tessera.errors import ArtifactError
from tessera.figures import Figure
from tessera.jobs import Cell, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.report.pictures import drawing
from tessera.report.pictures.album import Picture
from tessera.report.pictures.boxes import place_labels, shared
from tessera.report.pictures.detections import (
    draw_mistakes,
    draw_precision_recall,
    draw_predictions,
    per_class_table,
    read_cells,
)
from tessera.report.pictures.precision_recall import POINTS, read_curves
from tessera.report.pictures.precision_recall import _draw_class as whole

MAP = Figure(name="map_voc07", unit="%")
AREA = Figure(name="map_area", unit="%")
MAKERS = (draw_predictions, draw_mistakes, draw_precision_recall, per_class_table)
Make = Callable[..., SummarizeStudy]


def examples(images: int, mistakes: bool) -> dict[str, Any]:
    shown = []
    for index in range(images):
        truth = [
            {"box": [4, 4, 30, 40], "label": "cat", "difficult": False, "found": True},
            {"box": [40, 8, 60, 28], "label": "dog", "difficult": False, "found": False},
            {"box": [0, 40, 9, 47], "label": "dog", "difficult": True, "found": False},
        ]
        found = [("cat", 0.98, "right", 0), ("dog", 0.9, "wrong class", 0), ("cat", 0.5, "background", None)]
        detections = [
            {"box": [5, 5, 31, 40], "label": label, "score": score, "kind": kind, "iou": 0.8, "object": place}
            for label, score, kind, place in found
        ]
        shown.append(
            {"file": f"examples/{index:06d}.jpg", "name": f"image {index}", "index": index, "width": 64, "height": 48,
             "truth": truth, "detections": detections}
        )  # fmt: skip
    wrong = [{"image": 0, "detection": 1}, {"image": 0, "detection": 2}, {"image": 0, "object": 1}]
    return {
        "iou": 0.5, "threshold": 0.3, "classes": ["cat", "dog", "bus"], "images": shown,
        "ordinary": list(range(images)), "mistakes": wrong if mistakes else [],
    }  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a study whose cells hold boxes: class `cat` with two objects, `dog` with one, `bus` without any."""

    def study(rows: int = 2, trials: int = 2, images: int = 2, mistakes: bool = True) -> SummarizeStudy:
        cells = []
        for row in range(rows):
            folders = tuple(f"artifacts/target/row{row}.t{trial}-{row * 10 + trial:08x}" for trial in range(trials))
            for trial, name in enumerate(folders):
                folder = tmp_path / name
                (folder / "examples").mkdir(parents=True, exist_ok=True)
                about = examples(images, mistakes)
                (folder / "examples/examples.json").write_text(json.dumps(about))
                for image in about["images"]:
                    Image.new("RGB", (64, 48), (90, 120, 20 * image["index"])).save(folder / image["file"])
                cat = 50.0 + 10 * row + 2 * trial
                (folder / "metrics.json").write_text(json.dumps({"map_voc07": (cat + 30) / 2, "map_area": None}))
                np.savez(
                    folder / "predictions.npz", class_names=np.array(["cat", "dog", "bus"]),
                    class_objects=np.array([2, 1, 0]), ap_voc07=np.array([cat, 30.0, np.nan]),
                    ap_area=np.array([cat - 1, 29.0, np.nan]), curve_class=np.array([0, 0, 1]),
                    curve_recall=np.array([0.5, 1.0, 1.0]), curve_precision=np.array([0.5, 2 / 3, 0.25]),
                )  # fmt: skip
            cells.append(
                Cell(
                    row=f"row {row}",
                    column="",
                    protocol="p",
                    figure=Figure(name="map_voc07", unit="%"),
                    artifacts=folders,
                )
            )
        return SummarizeStudy(
            name="toy", title="", description="", scale="smoke", trials=trials, rows=tuple(c.row for c in cells),
            columns=("",), cells=tuple(cells), artifacts=tuple(f for c in cells for f in c.artifacts),
        )  # fmt: skip

    return study


def draw(maker: Any, study: SummarizeStudy, root: Path) -> list[Picture]:
    folder = root / "figures"
    folder.mkdir(exist_ok=True)
    pictures: list[Picture] = maker(study, root, folder)
    for picture in pictures:
        with Image.open(folder / picture.file) as image:
            assert image.format == "PNG"
            assert min(image.size) > 0.6 * drawing.DOTS_PER_INCH
        assert picture.category == "Detection"
        assert picture.title
        assert picture.caption.endswith(".")
    return pictures


@pytest.mark.parametrize(("rows", "pages"), [(1, 1), (2, 1), (4, 3)])
def test_rows_of_the_study_are_side_by_side(make: Make, tmp_path: Path, rows: int, pages: int) -> None:
    pictures = draw(draw_predictions, make(rows, trials=1, images=3), tmp_path)
    assert [picture.file for picture in pictures] == [f"predictions-1-{page}.png" for page in range(1, pages + 1)]
    if rows == 4:  # an image each, three rows of the study in a line
        assert pictures[1].title == "What is found, image 2 of 3"


def test_two_averages_of_the_same_boxes_are_drawn_once(make: Make, tmp_path: Path) -> None:
    study = make(trials=1)
    named = [cell.model_copy(update={"column": "11 points"}) for cell in study.cells]
    area = [cell.model_copy(update={"column": "area", "figure": AREA}) for cell in study.cells]
    other = Cell(
        row="row 0",
        column="kNN",
        protocol="knn",
        figure=ACCURACY,
        artifacts=("artifacts/target/none",),
    )
    both = study.model_copy(update={"columns": ("11 points", "area"), "cells": (*named, *area)})
    assert [picture.title for picture in draw(draw_predictions, both, tmp_path)] == ["What is found"]
    assert [picture.title for picture in draw(draw_mistakes, both, tmp_path)] == [
        "Worst mistakes: row 0", "Worst mistakes: row 1",
    ]  # fmt: skip
    assert len(draw(per_class_table, both, tmp_path)) == 2  # these do differ
    more = both.model_copy(update={"columns": (*both.columns, "kNN"), "cells": (*both.cells, other)})
    (picture,) = draw(draw_predictions, more, tmp_path)
    assert picture.title == "What is found, 11 points and area"


@pytest.mark.parametrize("told", ["by their names", "by the dataset alone"])
def test_rows_of_other_images_are_pictures_of_their_own(make: Make, tmp_path: Path, told: str) -> None:
    study = make(rows=6, trials=1)
    for row in (3, 4):  # a line of its own, were all rows in one picture
        folder = tmp_path / study.cells[row].artifacts[0]
        (folder / "artifact.json").write_text(json.dumps({"inputs": {"dataset": "artifacts/datasets/other"}}))
        if told == "by their names":
            text = (folder / "examples/examples.json").read_text()
            (folder / "examples/examples.json").write_text(text.replace('"image ', '"elsewhere '))
    assert [picture.title for picture in draw(draw_predictions, study, tmp_path)] == [
        "What is found: row 0 and 3 more, image 1 of 2",
        "What is found: row 0 and 3 more, image 2 of 2",
        "What is found: row 3 and 1 more",
    ]


def test_of_people_curves_are_drawn_and_no_image(make: Make, tmp_path: Path) -> None:
    study = make(rows=2, trials=1)
    for cell in study.cells:
        path = tmp_path / cell.artifacts[0] / "examples/examples.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "images": [], "ordinary": [], "mistakes": []}))
    assert draw(draw_predictions, study, tmp_path) == draw(draw_mistakes, study, tmp_path) == []
    assert draw(draw_precision_recall, study, tmp_path)


def test_each_row_has_its_mistakes(make: Make, tmp_path: Path) -> None:
    pictures = draw(draw_mistakes, make(), tmp_path)
    assert [picture.title for picture in pictures] == ["Worst mistakes: row 0", "Worst mistakes: row 1"]
    assert "IoU of 0.5 or more" in pictures[0].caption


def test_what_is_wrong_is_said_in_words(make: Make, tmp_path: Path) -> None:
    from tessera.report.pictures.detections import _examples, _mistake

    about = _examples(tmp_path / make().cells[0].artifacts[0])
    panels = [_mistake(about, mistake) for mistake in about["mistakes"]]
    assert [panel.title for panel in panels] == [
        "dog 0.90: wrong class, it is cat (IoU 0.80)",
        "cat 0.50: no object there",
        "dog missed: 13 % of the image",
    ]
    assert [[drawn.text for drawn in panel.boxes] for panel in panels] == [
        ["cat", "✗ dog 0.90"],
        ["✗ cat 0.50"],
        ["dog"],
    ]


def test_no_mistakes_are_no_picture(make: Make, tmp_path: Path) -> None:
    assert draw(draw_mistakes, make(mistakes=False), tmp_path) == []


def test_curves_have_the_averages_and_rows_in_the_legend(make: Make, tmp_path: Path) -> None:
    (picture,) = draw(draw_precision_recall, make(), tmp_path)
    assert "VOC 2007, eleven points" in picture.caption
    text = (tmp_path / "figures/precision_recall-1-1.svg").read_text()
    for shown in ("cat (2)", "dog (1)", "51.0", "61.0", "30.0", "row 0 (40.5)", "row 1 (45.5)", "recall", "precision"):
        assert f">{shown}<" in text
    assert ">bus" not in text
    assert len(draw(draw_precision_recall, make(rows=6), tmp_path)) == 2  # no more lines than can be told apart


def test_a_curve_is_the_envelope(make: Make, tmp_path: Path) -> None:
    found = read_curves(tmp_path / make().cells[0].artifacts[0] / "predictions.npz")
    assert found["cat"].envelope == pytest.approx(np.full(POINTS, 2 / 3))  # the second hit lifts the first
    assert found["bus"].envelope == pytest.approx(np.zeros(POINTS))
    assert found["bus"].averages == {"ap_voc07": None, "ap_area": None}


def test_table_has_mean_and_spread_over_the_trials(make: Make, tmp_path: Path) -> None:
    draw(per_class_table, make(), tmp_path)
    markdown = (tmp_path / "figures/per_class.md").read_text()
    assert "| class | row 0 | row 1 |" in markdown
    assert "| cat | 51.0 ± 1.4 | 61.0 ± 1.4 |" in markdown
    assert "| dog | 30.0 ± 0.0 | 30.0 ± 0.0 |" in markdown
    assert "| **mean** | **40.5** | **45.5** |" in markdown
    assert "bus" not in markdown
    rows = list(csv.DictReader(io.StringIO((tmp_path / "figures/per_class.csv").read_text())))
    assert len(rows) == 2 * 3 * 2
    assert rows[0] == {
        "row": "row 0", "column": "", "class": "cat", "objects": "2", "average": "ap_voc07", "trials": "2",
        "mean": "51.0", "std": "1.4142", "values": "50.0000 52.0000",
    }  # fmt: skip
    assert [row["mean"] for row in rows if row["class"] == "bus"] == [""] * 4


@pytest.mark.parametrize("maker", MAKERS)
def test_equal_artifacts_are_equal_files(make: Make, tmp_path: Path, maker: Any) -> None:
    study = make(trials=1, images=1)
    contents = []
    for _ in range(2):
        draw(maker, study, tmp_path)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("maker", MAKERS)
def test_other_studies_have_none(study: SummarizeStudy, tmp_path: Path, maker: Any) -> None:
    assert draw(maker, study, tmp_path) == []
    assert list((tmp_path / "figures").iterdir()) == []
    assert read_cells(study, tmp_path) == {}


def test_no_object_at_all_is_no_curve(make: Make, tmp_path: Path) -> None:
    study = make(rows=1, trials=1)
    path = tmp_path / study.cells[0].artifacts[0]
    nothing, classes = np.zeros(0), np.full(2, np.nan)
    np.savez(
        path / "predictions.npz", class_names=np.array(["cat", "dog"]), class_objects=np.zeros(2, int),
        ap_voc07=classes, ap_area=classes, curve_class=nothing, curve_recall=nothing, curve_precision=nothing,
    )  # fmt: skip
    (path / "metrics.json").write_text('{"map_voc07": null, "map_area": null}')
    assert draw(draw_precision_recall, study, tmp_path) == []
    assert len(draw(per_class_table, study, tmp_path)) == 1
    assert "| **mean** | – |" in (tmp_path / "figures/per_class.md").read_text()


def test_damaged_files_are_named(make: Make, tmp_path: Path) -> None:
    study = make(rows=1, trials=1, images=1)
    folder = tmp_path / study.cells[0].artifacts[0]
    (folder / "predictions.npz").write_bytes(b"PK")
    with pytest.raises(ArtifactError, match=r"predictions\.npz: cannot be read"):
        draw(per_class_table, study, tmp_path)
    (folder / "examples/000000.jpg").write_bytes(b"no image")
    with pytest.raises(ArtifactError, match=r"000000\.jpg: cannot be read"):
        draw(draw_predictions, study, tmp_path)
    (folder / "examples/examples.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"examples\.json: has no `images`"):
        draw(draw_mistakes, study, tmp_path)


def test_labels_keep_off_each_other_and_touch_their_box() -> None:
    generator = np.random.default_rng(0)
    low = generator.uniform(0, 300, (9, 2))
    boxes = [tuple(box) for box in np.concatenate([low, low + generator.uniform(30, 100, (9, 2))], 1).tolist()]
    placed = place_labels(boxes, [(60.0, 14.0)] * len(boxes), 400, 400)
    for number, (label, box) in enumerate(zip(placed, boxes, strict=True)):
        x1, y1, x2, y2 = label
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= 400
        assert y2 <= 400
        assert x2 >= box[0] - 1e-6
        assert x1 <= box[2] + 1e-6
        assert y2 >= box[1] - 1e-6
        assert y1 <= box[3] + 1e-6
        assert all(shared(label, other) == 0 for other in placed[:number])


def test_a_label_too_wide_for_the_image_stays_at_its_edge() -> None:
    ((x1, _, x2, _),) = place_labels([(10.0, 10.0, 20.0, 20.0)], [(90.0, 14.0)], 60, 60)
    assert (x1, x2) == (0.0, 90.0)


def test_words_lie_within_the_pictures_and_no_number_on_a_curve(
    make: Make, tmp_path: Path, words_within: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(
        "tessera.report.pictures.precision_recall._draw_class", lambda ax, *rest: drawn.append((ax, whole(ax, *rest)))
    )
    study = make(rows=5)
    for maker in MAKERS:
        assert maker(study, tmp_path, tmp_path / "figures")
    assert drawn
    for ax, _ in drawn:
        numbers = [text for text in ax.texts if text.get_text()]
        assert len(numbers) == 5
        boxes = [text.get_window_extent() for text in numbers]
        assert all(box.y0 >= ax.get_window_extent().y1 for box in boxes)
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_a_picture_says_how_much_was_found(make: Make, tmp_path: Path) -> None:
    (picture,) = draw_predictions(make(rows=1), tmp_path, tmp_path / "figures")
    # Of each image a cat that is found, a dog that is not, one that does not count; two of three boxes are wrong.
    assert "In all 2 of them: row 0 finds 2 of 4 objects, and 4 of its boxes are wrong." in picture.caption
