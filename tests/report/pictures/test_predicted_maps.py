"""Pictures of predicted maps in a study: which rows stand together, and what stands beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from tessera.data.thumbnails import sheet
from tessera.errors import ArtifactError
from tessera.figures import Figure as Measured
from tessera.jobs import Cell, SummarizeStudy
from tessera.report.pictures import predicted_maps
from tessera.report.pictures.predicted_maps import draw_predicted_maps

MEAN_IOU = Measured(name="semantic_segmentation.mean_iou", unit="%")
ACCURACY = Measured(name="semantic_segmentation.pixel_accuracy", unit="%")
ANGLE = Measured(name="normals.mean_angle", unit="°", lower_is_better=True)
SHOWN, RIGHT, PREDICTED, ERROR = 0, 60, 120, 180  # levels of gray


def keep(
    folder: Path, tasks: dict[str, list[tuple[str, str]]], level: int = 0, images: tuple[int, ...] = (0, 3)
) -> None:
    """maps.json and its pictures, each of one gray; what is predicted is brighter by `level`."""
    (folder / "maps").mkdir()

    def gray(value: int) -> torch.Tensor:
        return torch.full((len(images), 3, 6, 9), value, dtype=torch.uint8)

    content, (strip,) = sheet([gray(SHOWN)])
    (folder / "maps/images.jpg").write_bytes(content)
    told = []
    for number, (task, legend) in enumerate(tasks.items(), start=1):
        content, strips = sheet([gray(RIGHT), gray(PREDICTED + level), gray(ERROR)], lossless=True)
        (folder / f"maps/{number}.png").write_bytes(content)
        views = [{"name": n, "strip": at} for n, at in zip(("right", "predicted", "error"), strips, strict=True)]
        told.append(
            {"task": task, "caption": f"Of {task}.", "legend": legend, "file": f"maps/{number}.png", "views": views}
        )
    about = {"images": images, "file": "maps/images.jpg", "strip": strip, "tasks": told}
    (folder / "maps/maps.json").write_text(json.dumps(about))


def study_of(cells: list[Cell], trials: int = 1) -> SummarizeStudy:
    return SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=trials, artifacts=(), cells=tuple(cells),
        rows=tuple(dict.fromkeys(cell.row for cell in cells)), columns=tuple(dict.fromkeys(c.column for c in cells)),
    )  # fmt: skip


def cell(row: str, figure: Measured, *artifacts: str, column: str = "") -> Cell:
    return Cell(row=row, column=column or figure.name, protocol="tasks", figure=figure, artifacts=artifacts)


@pytest.fixture
def study(write: Any, tmp_path: Path) -> SummarizeStudy:
    """A row of networks of one task each, one of two trials of both tasks, and one whose images show people."""
    seen: dict[str, Any] = {"inputs": {"dataset": "artifacts/datasets/toy-0"}}
    legend = [("wall", "#1f77b4"), ("floor", "#ff7f0e")]
    alone = [
        write(f"artifacts/target/{name}-1", {figure.name: value}, **seen)
        for name, figure, value in (("sem", MEAN_IOU, 40.0), ("nor", ANGLE, 9.5))
    ]
    keep(tmp_path / alone[0], {"semantic_segmentation": legend[:1]})
    keep(tmp_path / alone[1], {"normals": []})
    metrics = {MEAN_IOU.name: 50.0, ACCURACY.name: 70.0, ANGLE.name: 20.0}
    both = [
        write(f"artifacts/target/both.t{t}-1", {k: v + 4 * t for k, v in metrics.items()}, **seen) for t in range(2)
    ]
    for trial, folder in enumerate(both):
        keep(tmp_path / folder, {"semantic_segmentation": legend, "normals": []}, level=20 * trial + 10)
    people = write("artifacts/target/people-1", metrics)
    cells = [cell("single task", figure, folder) for figure, folder in zip((MEAN_IOU, ANGLE), alone, strict=True)]
    cells += [cell("split", figure, *both) for figure in (MEAN_IOU, ACCURACY, ANGLE)]
    return study_of([*cells, cell("people", MEAN_IOU, people)], trials=2)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    found: list[Figure] = []
    original = predicted_maps.save

    def save(figure: Figure, *where: Any, **how: Any) -> str:
        found.append(figure)
        return original(figure, *where, **how)

    monkeypatch.setattr(predicted_maps, "save", save)
    return found


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def grays(figure: Figure) -> list[int]:
    return [int(np.asarray(image.get_array()).mean().round()) for image in figure.axes[0].images]


@pytest.mark.usefixtures("words_within")
def test_a_picture_a_task_with_a_line_a_row(study: SummarizeStudy, tmp_path: Path, drawn: list[Figure]) -> None:
    classes, normals = draw_predicted_maps(study, tmp_path, tmp_path / "figures")
    assert (classes.file, normals.file) == ("predicted_maps-1.png", "predicted_maps-2.png")
    assert (classes.title, normals.title) == ("Predicted maps: semantic_segmentation", "Predicted maps: normals")
    assert "Of semantic_segmentation." in classes.caption
    assert "First trial; 2 images" in classes.caption
    assert words(drawn[0]) == [
        "images", "predicted", "right", "error",
        "single task\nmean IoU 40.0 %", "split\nmean IoU 52.0 %", "wall", "floor",
    ]  # fmt: skip
    assert words(drawn[1])[4:] == ["single task\nmean angle 9.5°", "split\nmean angle 22.0°"]
    for figure in drawn:  # what is predicted is of the first trial
        assert (
            grays(figure)
            == [SHOWN] * 2 + [RIGHT] * 2 + [PREDICTED] * 2 + [ERROR] * 2 + [PREDICTED + 10] * 2 + [ERROR] * 2
        )
    once = (tmp_path / "figures" / classes.file).read_bytes()
    draw_predicted_maps(study, tmp_path, tmp_path / "figures")
    assert (tmp_path / "figures" / classes.file).read_bytes() == once


def test_a_panel_has_the_sides_of_its_image(study: SummarizeStudy, tmp_path: Path, drawn: list[Figure]) -> None:
    draw_predicted_maps(study, tmp_path, tmp_path / "figures")
    width, height = drawn[0].get_size_inches()
    (ax,) = drawn[0].axes
    assert (*ax.get_xlim(), *ax.get_ylim()) == (0, width, height, 0)  # inches
    boxes = [image.get_extent() for image in ax.images]
    assert all((x1 - x0) / (y1 - y0) == pytest.approx(9 / 6) for x0, x1, y1, y0 in boxes)
    assert all(0 < x0 < x1 < width and 0 < y0 < y1 < height for x0, x1, y1, y0 in boxes)
    assert not any(
        x0 < other[1] and other[0] < x1 and y0 < other[2] and other[3] < y1
        for number, (x0, x1, y1, y0) in enumerate(boxes)
        for other in boxes[:number]
    )


def test_rows_of_other_images_are_a_picture_of_their_own(study: SummarizeStudy, tmp_path: Path) -> None:
    about = tmp_path / "artifacts/target/both.t0-1/maps/maps.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "images": [0, 5]}))
    titles = [
        picture.title.removeprefix("Predicted maps: ")
        for picture in draw_predicted_maps(study, tmp_path, tmp_path / "figures")
    ]
    assert titles == [
        "semantic_segmentation: single task", "semantic_segmentation: split", "normals: single task", "normals: split",
    ]  # fmt: skip


def test_a_row_that_is_measured_twice_names_its_columns(write: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    folders = [write(f"artifacts/target/{name}-1", {ANGLE.name: 1.0}) for name in "ab"]
    for folder in folders:
        keep(tmp_path / folder, {"normals": []})
    cells = [cell("split", ANGLE, folder, column=f"{n} epochs") for n, folder in zip((5, 9), folders, strict=True)]
    draw_predicted_maps(study_of(cells), tmp_path, tmp_path / "figures")
    assert [line.partition("\n")[0] for line in words(drawn[0])[4:]] == ["split, 5 epochs", "split, 9 epochs"]


@pytest.mark.usefixtures("words_within")
def test_many_rows_and_long_names_fit(
    write: Any, tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicted_maps, "MOST", 3)
    cells = []
    legend = [(f"a class called {number}", "#123456") for number in range(20)]
    for number in range(5):
        folder = write(f"artifacts/target/r{number}-1", {MEAN_IOU.name: None if number == 3 else float(number)})
        keep(tmp_path / folder, {"semantic_segmentation": legend}, images=(0, 1, 2, 3))
        cells.append(cell(f"row {number} of a method with a name that takes many lines", MEAN_IOU, folder))
    pictures = draw_predicted_maps(study_of(cells), tmp_path, tmp_path / "figures")
    assert [picture.title for picture in pictures] == [
        f"Predicted maps: semantic_segmentation, part {page} of 2" for page in (1, 2)
    ]
    assert [len(figure.axes[0].images) for figure in drawn] == [8 * 4, 8 * 3]


def test_a_study_without_maps_has_no_picture(study: SummarizeStudy, tmp_path: Path) -> None:
    plain = study.model_copy(update={"cells": tuple(c for c in study.cells if c.row == "people")})
    assert draw_predicted_maps(plain, tmp_path, tmp_path / "figures") == []


def test_a_damaged_picture_is_named(study: SummarizeStudy, tmp_path: Path) -> None:
    (tmp_path / "artifacts/target/both.t0-1/maps/1.png").write_bytes(b"no picture")
    with pytest.raises(ArtifactError, match=r"maps/1\.png: cannot be read"):
        draw_predicted_maps(study, tmp_path, tmp_path / "figures")
    (tmp_path / "artifacts/target/both.t0-1/maps/maps.json").write_text('{"images": [0]}')
    with pytest.raises(ArtifactError, match=r"maps\.json: .*Delete its folder"):
        draw_predicted_maps(study, tmp_path, tmp_path / "figures")
