"""Cells along a training: image views and figures are read from the artifacts, and written as they are."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tessera.jobs import Cell, Moment, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.report.summary import summarize
from tessera.report.tables.along import as_along_csv, read_along

Write = Callable[..., str]
VIEWS = {"1": 480, "4": 1920, "10": 4800}


@pytest.fixture
def along(study: SummarizeStudy, write: Write, tmp_path: Path) -> SummarizeStudy:
    """`tte` in C10 along its training, three trials; `joint` is measured once, and so is C100."""
    cell, *others = study.cells
    points, made = [], []
    for number, (epoch, folders) in enumerate([("1", None), ("4", None), ("10", cell.artifacts)]):
        measured = []
        for trial in range(3):
            source = write(f"artifacts/source/tte.t{trial}-{trial:08x}")
            (tmp_path / source / "snapshots").mkdir(exist_ok=True)
            index = {"image_views": {each: views + trial for each, views in VIEWS.items()}}
            (tmp_path / source / "snapshots" / "index.json").write_text(json.dumps(index))
            folder = folders[trial] if folders else f"artifacts/target/tte.epoch-{epoch}.t{trial}-{number}{trial:07x}"
            inputs = {"dataset": "artifacts/datasets/toy-00000000", "source": source}
            accuracy = [71.0, 72.0, 74.0][trial] if folders else 30.0 + 10 * number + trial
            measured.append(write(folder, {"accuracy": accuracy, "train_accuracy": 90.0 + trial}, inputs=inputs))
        points.append(Moment(epoch=int(epoch), artifacts=tuple(measured)))
        made += measured
    cells = (cell.model_copy(update={"along": tuple(points)}), *others)
    return study.model_copy(update={"cells": cells, "artifacts": tuple(dict.fromkeys((*study.artifacts, *made)))})


def test_points_are_those_that_were_measured(along: SummarizeStudy, tmp_path: Path) -> None:
    course, level = read_along(along, tmp_path)  # of C100 none: nothing is measured along a training there
    assert [point.epoch for point in course.points] == [1, 4, 10]
    assert [point.views for point in course.points] == [(480, 481, 482), (1920, 1921, 1922), (4800, 4801, 4802)]
    assert [point.values for point in course.points] == [(30, 31, 32), (40, 41, 42), (71, 72, 74)]
    assert (course.points[0].mean, course.points[0].std, course.points[0].mean_views) == (31, 1, 481)
    assert course.values == course.points[-1].values
    assert course.chance == level.chance == 25.0  # of four classes
    assert (level.row, level.points, level.values) == ("joint", (), (70.0, 70.5, 72.5))


def test_the_file_has_a_line_a_trial_of_each_point(along: SummarizeStudy, tmp_path: Path) -> None:
    lines = list(csv.DictReader(as_along_csv(read_along(along, tmp_path)).splitlines()))
    assert len(lines) == 3 * 3 + 3
    assert lines[4] == {
        "row": "tte",
        "column": "C10",
        "trial": "1",
        "epoch": "4",
        "image_views": "1921",
        "value": "41.0",
    }
    assert lines[-1] == {"row": "joint", "column": "C10", "trial": "2", "epoch": "", "image_views": "", "value": "72.5"}


def test_a_study_s_results_have_its_points_in_a_file_a_figure_and_the_table(
    along: SummarizeStudy, study: SummarizeStudy, tmp_path: Path
) -> None:
    summarize(along, tmp_path)
    folder = tmp_path / "results" / "toy"
    cells = {(cell["row"], cell["column"]): cell for cell in json.loads((folder / "table.json").read_text())["cells"]}
    first = cells["tte", "C10"]["along"][0]
    assert {key: first[key] for key in ("epoch", "image_views", "mean", "std", "values")} == {
        "epoch": 1, "image_views": [480, 481, 482], "mean": 31.0, "std": 1.0, "values": [30.0, 31.0, 32.0],
    }  # fmt: skip
    assert first["artifacts"] == list(along.cells[0].along[0].artifacts)
    assert cells["tte", "C10"]["mean"] == pytest.approx(72.333333)  # the end, as ever
    assert "along" not in cells["joint", "C10"]
    marker = json.loads((tmp_path / along.marker).read_text())
    assert {"along.csv", "figures/along.png", "figures/along.svg"} <= marker["files"].keys()
    assert "Along the training" in (folder / "report.html").read_text()
    summarize(study, tmp_path)  # another configuration: nothing of it stays
    assert not (folder / "along.csv").exists()
    assert not (folder / "figures" / "along.png").exists()


def test_a_study_that_follows_no_training_has_the_key_that_it_had(study: SummarizeStudy, along: SummarizeStudy) -> None:
    assert "along" not in study.model_dump_json()
    assert along.key != study.key
    measured = along.cells[0].measured
    assert measured[:3] == along.cells[0].artifacts
    assert len(measured) == 9


def test_what_is_not_made_has_no_value(along: SummarizeStudy, tmp_path: Path) -> None:
    gone = along.cells[0].along[1].artifacts[2]
    (tmp_path / gone / "artifact.json").unlink()
    (course, _) = read_along(along, tmp_path)
    assert course.points[1].values == (40, 41, None)
    assert course.points[1].views == (1920, 1921, None)
    assert "tte,C10,2,4,,nan" in as_along_csv([course]).splitlines()


def test_views_of_a_source_that_does_not_tell_them_are_unknown(write: Write, tmp_path: Path) -> None:
    source = write("artifacts/source/old-00000000")
    folder = write("artifacts/target/a-00000001", {"accuracy": 50.0}, inputs={"source": source})
    moments = tuple(Moment(epoch=epoch, artifacts=(folder,)) for epoch in (1, 2))
    cell = Cell(row="a", column="b", protocol="knn", figure=ACCURACY, artifacts=(folder,), along=moments)
    summary = SummarizeStudy(name="x", title="x", description="", scale="smoke", trials=1, rows=("a",), columns=("b",),
                             cells=(cell,), artifacts=(source, folder))  # fmt: skip
    (course,) = read_along(summary, tmp_path)
    assert [point.views for point in course.points] == [(None,), (None,)]
