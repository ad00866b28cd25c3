"""Figure 4: frames, order and captions of retrieval, clusters against classes, the map."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tessera.jobs import Cell, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.report.pictures.retrieval import _confusion, _methods, draw_confusion, draw_map, draw_retrieval

# Of each method: classes of the neighbours of three queries, of classes 0, 1 and 2.
NEIGHBORS = {"TTE": [[0, 1, 0], [1, 1, 1], [0, 0, 1]], "MSVL": [[1, 1, 0], [1, 0, 1], [0, 0, 2]]}
SCORES = {"accuracy": 50.0, "nmi": 40.0, "ari": 30.0, "recall_at_1": 60.0, "recall_at_5": 80.0, "recall_at_10": 90.0}


def keep(folder: Path, row: str, trial: int) -> None:
    queries = [
        {"image": 10 * q + trial, "label": q, "neighbors": [1, 2, 3], "neighbor_labels": labels}
        for q, labels in enumerate(NEIGHBORS[row])
    ]
    strips = [(4, 32, 32)] * 3
    about = {"classes": ["ape", "boat", "cat"], "queries": queries, "strips": strips}
    (folder / "retrieval.json").write_text(json.dumps(about))
    Image.new("RGB", (128, 96), (90, 90, 90)).save(folder / "retrieval.jpg")
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predictions = np.array([0, 0, 0, 1, 1, 1, 2, 0] if trial == 0 else [0, 0, 1, 1, 1, 1, 2, 0])
    np.savez_compressed(folder / "assignments.npz", labels=labels, predictions=predictions)
    coordinates = np.random.default_rng(trial).normal(size=(8, 2)).astype(np.float32)
    np.savez_compressed(folder / "map.npz", rows=np.arange(8), coordinates=coordinates, labels=labels)


@pytest.fixture
def study(write: Any, tmp_path: Path) -> SummarizeStudy:
    dataset = write("artifacts/datasets/toy-00000000")
    (tmp_path / dataset / "dataset.json").write_text(json.dumps({"classes": ["ape", "boat", "cat"]}))
    cells = []
    for row in NEIGHBORS:
        made = [
            write(
                f"artifacts/clusters/{row}.t{t}-0000000{t}",
                {**SCORES, "nmi": 40.0 + 10 * t},
                inputs={"dataset": dataset},
            )
            for t in range(2)
        ]
        for trial, folder in enumerate(made):
            keep(tmp_path / folder, row, trial)
        cells.append(
            Cell(
                row=row,
                column="STL-10",
                protocol="clustering",
                figure=ACCURACY,
                artifacts=tuple(made),
            )
        )
    probe = write("artifacts/target/p.t0-11111111", {"accuracy": 1.0})
    cells.append(
        Cell(
            row="TTE",
            column="probe",
            protocol="linear_probe",
            figure=ACCURACY,
            artifacts=(probe,),
        )
    )
    return SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=2, rows=tuple(NEIGHBORS),
        columns=("STL-10", "probe"), cells=tuple(cells), artifacts=(),
    )  # fmt: skip


def test_retrieval_shows_methods_above_each_other_in_the_order_of_the_classes(
    study: SummarizeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bool | None] = []
    monkeypatch.setattr("tessera.report.pictures.retrieval._draw_image", lambda ax, image, right: drawn.append(right))
    (picture,) = draw_retrieval(study, tmp_path, tmp_path / "figures")
    assert picture.title == "Retrieval (Figure 4): STL-10"
    assert "TTE above MSVL" in picture.caption
    assert "TTE: NMI 45.0, ARI 30.0, R@1 60.0, R@5 80.0, R@10 90.0; MSVL" in picture.caption
    # Never by who answers best: boat has 5 of 6 right, ape 3. Each the query, unframed, and three images, TTE's first.
    wanted = [
        [None, *(label == query for label in NEIGHBORS[row][query])] for query in (0, 1, 2) for row in ("TTE", "MSVL")
    ]
    assert drawn == [right for line in wanted for right in line]


@pytest.mark.usefixtures("fine")
def test_frames_tell_right_from_wrong_without_colour(study: SummarizeStudy, tmp_path: Path) -> None:
    draw_retrieval(study, tmp_path, tmp_path / "figures")
    with Image.open(tmp_path / "figures" / "retrieval-1.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (abs(pixels - [0x00, 0x72, 0xB2]).sum(axis=2) < 12).sum()
    orange = (abs(pixels - [0xD5, 0x5E, 0x00]).sum(axis=2) < 12).sum()
    assert 9 * orange < 9 * blue * 0.75  # nine frames of each: a dashed one has gaps


def test_methods_that_were_asked_for_other_images_do_not_stand_together(study: SummarizeStudy, tmp_path: Path) -> None:
    path = tmp_path / "artifacts/clusters/MSVL.t0-00000000/retrieval.json"
    about = json.loads(path.read_text())
    about["queries"][0]["image"] = 77
    path.write_text(json.dumps(about))
    (picture,) = draw_retrieval(study, tmp_path, tmp_path / "figures")
    assert "MSVL" not in picture.caption


def test_confusion_is_the_mean_of_shares_over_the_trials(study: SummarizeStudy, tmp_path: Path) -> None:
    classes, clusters, shares = _confusion(_methods(study, tmp_path)[0], tmp_path)
    assert classes == clusters == ["ape", "boat", "cat"]
    assert shares.tolist() == [[62.5, 37.5, 0.0], [0.0, 100.0, 0.0], [50.0, 0.0, 50.0]]
    (picture,) = draw_confusion(study, tmp_path, tmp_path / "figures")
    text = (tmp_path / "figures" / "confusion-1.svg").read_text()
    assert picture.category == "Clusters and retrieval"
    for shown in (">62<", ">38<", ">100<", ">ape<", ">cat<", "accuracy 50.0 %"):
        assert shown in text


def test_a_cluster_without_a_class_has_a_column_of_its_own(study: SummarizeStudy, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts/clusters/TTE.t0-00000000"
    np.savez_compressed(folder / "assignments.npz", labels=np.array([0, 1, 2, 2]), predictions=np.array([0, 1, 2, -1]))
    _, clusters, shares = _confusion(_methods(study, tmp_path)[0], tmp_path)
    assert clusters == ["ape", "boat", "cat", "(none)"]
    assert shares[2].tolist() == [25.0, 0.0, 50.0, 25.0]
    assert shares.sum(axis=1) == pytest.approx(100)


def test_the_map_names_every_class_once(study: SummarizeStudy, tmp_path: Path) -> None:
    (picture,) = draw_map(study, tmp_path, tmp_path / "figures")
    text = (tmp_path / "figures" / "map-1.svg").read_text()
    for name in ("ape", "boat", "cat"):
        assert text.count(f">{name}<") == 1
    assert "NMI 45.0, ARI 30.0" in text
    assert "t-SNE" in picture.caption


def test_maps_of_other_classes_are_pictures_of_their_own(study: SummarizeStudy, tmp_path: Path) -> None:
    about = tmp_path / "artifacts/clusters/MSVL.t0-00000000/artifact.json"
    manifest = json.loads(about.read_text())
    dataset = tmp_path / manifest["inputs"]["dataset"] / "dataset.json"
    columns = {"side": {"kind": "class", "classes": ["left", "middle", "right"]}}
    dataset.write_text(json.dumps({**json.loads(dataset.read_text()), "columns": columns}))
    about.write_text(json.dumps({**manifest, "settings": {"labels": "side"}}))
    pictures = draw_map(study, tmp_path, tmp_path / "figures")
    assert [picture.file for picture in pictures] == ["map-1.png", "map-2.png"]
    texts = [(tmp_path / "figures" / f"map-{number}.svg").read_text() for number in (1, 2)]
    assert [(">ape<" in text, ">left<" in text) for text in texts] == [(True, False), (False, True)]


def test_equal_figures_are_equal_files(study: SummarizeStudy, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for draw in (draw_retrieval, draw_confusion, draw_map):
            draw(study, tmp_path, tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["confusion-1.png", "confusion-1.svg", "map-1.png", "map-1.svg", "retrieval-1.png"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


def test_artifacts_of_earlier_code_have_the_confusion_alone(study: SummarizeStudy, tmp_path: Path) -> None:
    for path in tmp_path.glob("artifacts/clusters/*/*"):
        if path.name in ("retrieval.json", "retrieval.jpg", "map.npz"):
            path.unlink()
    folder = tmp_path / "figures"
    assert draw_retrieval(study, tmp_path, folder) == draw_map(study, tmp_path, folder) == []
    assert len(draw_confusion(study, tmp_path, folder)) == 1


def test_names_of_rows_lie_within_the_pictures(study: SummarizeStudy, tmp_path: Path, words_within: None) -> None:
    long = {
        "TTE": "TTE, weighed by impact, a window of three epochs",
        "MSVL": "multi-task self-supervised visual learning",
    }
    cells = tuple(cell.model_copy(update={"row": long[cell.row]}) for cell in study.cells)
    named = study.model_copy(update={"rows": tuple(long.values()), "cells": cells})
    for maker in (draw_retrieval, draw_confusion, draw_map):
        assert maker(named, tmp_path, tmp_path / "figures")
