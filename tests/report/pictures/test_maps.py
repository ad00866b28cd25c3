"""Maps of features: which cells have one, what title and legend say, and that classes can be told apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tessera.jobs import Cell, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.report.pictures import maps
from tessera.report.pictures.maps import Panel, draw_features, draw_panels

CLASSES = ["white", "black", "asian", "indian", "others"]


@pytest.fixture
def study(write: Any, tmp_path: Path) -> SummarizeStudy:
    cells = []
    for row in ("DGR", "plain"):
        for column in ("ethnicity", "accuracy"):
            inputs = {"dataset": "artifacts/datasets/toy.64-00000000"}
            made = write(f"artifacts/target/{row}.{column}.t0-00000000", {"accuracy": 61.25}, inputs=inputs)
            cells.append(Cell(row=row, column=column, protocol="any", figure=ACCURACY, artifacts=(made,)))
            if column == "ethnicity":
                about = {"classes": CLASSES, "layer": "layer3", "of": 900}
                (tmp_path / made / "map.json").write_text(json.dumps(about))
                draw = np.random.default_rng(len(cells))
                labels = np.array([0, 1, 2, 4, 4, 2, 1, 0])
                coordinates = draw.normal(size=(8, 2)).astype(np.float32)
                np.savez(tmp_path / made / "predictions.npz", coordinates=coordinates, labels=labels)
    return SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=1, rows=("plain", "DGR"),
        columns=("accuracy", "ethnicity"), cells=tuple(cells), artifacts=(),
    )  # fmt: skip


def test_a_column_with_maps_has_one_picture_of_all_rows(
    study: SummarizeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    original = maps.save

    def save(figure: Figure, *where: Any) -> str:
        drawn.append(figure)
        return original(figure, *where)

    monkeypatch.setattr(maps, "save", save)
    (picture,) = draw_features(study, tmp_path, tmp_path / "figures")
    assert picture.file == "features-1.png"
    assert (tmp_path / "figures" / picture.file).stat().st_size > 1_000
    assert picture.title == "Map of the features: ethnicity, toy.64, layer layer3, 8 images"
    assert "8 of 900 labelled test images" in picture.caption
    assert [ax.get_title() for ax in drawn[0].axes] == ["plain\naccuracy 61.2 %", "DGR\naccuracy 61.2 %"]
    assert not any(ax.images for ax in drawn[0].axes)  # points, and nothing else
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["white", "black", "asian", "others"]


def test_no_two_of_a_hundred_classes_look_alike_and_many_have_no_legend() -> None:
    assert len({maps._look(label) for label in range(100)}) == 100
    assert len({maps._look(label)[0] for label in range(10)}) == 10
    labels = np.arange(30)
    figure = draw_panels([Panel("many", np.zeros((30, 2)), labels)], [str(label) for label in labels])
    assert not figure.legends


def test_rows_of_other_classes_are_a_picture_of_their_own(study: SummarizeStudy, tmp_path: Path) -> None:
    """`target.labels` may be what the rows differ in: a legend of the first row's classes would lie, or end early."""
    about = tmp_path / "artifacts/target/plain.ethnicity.t0-00000000/map.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "classes": ["male", "female"]}))
    points = about.with_name("predictions.npz")
    with np.load(points) as kept:
        np.savez(points, coordinates=kept["coordinates"], labels=kept["labels"] % 2)
    pictures = draw_features(study, tmp_path, tmp_path / "figures")
    assert [picture.file for picture in pictures] == ["features-1.png", "features-2.png"]
    assert [picture.title.rpartition(": ")[2] for picture in pictures] == ["plain", "DGR"]
    first, second = ((tmp_path / "figures" / f"features-{number}.svg").read_text() for number in (1, 2))
    assert ">male<" in first
    assert ">white<" not in first
    assert ">white<" in second
    assert ">male<" not in second
