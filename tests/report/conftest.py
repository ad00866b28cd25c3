"""A study with two rows, a missing cell, published values and a training, written as the stages write it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tessera.figures import Figure as Measured
from tessera.jobs import Cell, Comparison, SummarizeStudy
from tessera.protocols.options import ACCURACY

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an artifact folder and returns its path, relative to the root."""

    def artifact(folder: str, metrics: dict[str, Any] | None = None, history: str | None = None, **about: Any) -> str:
        path = tmp_path / folder
        path.mkdir(parents=True, exist_ok=True)
        if metrics is not None:
            (path / "metrics.json").write_text(json.dumps(metrics))
        if history is not None:
            (path / "history.csv").write_text(history)
        (path / "artifact.json").write_text(json.dumps({"seconds": 30.0, "hardware": "a CPU", **about}))
        return folder

    return artifact


@pytest.fixture
def words_within(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where a word or a legend of a picture that is saved lies beyond its edge."""
    write, seen = Figure.savefig, list[Figure]()

    def checked(figure: Figure, *arguments: Any, **options: Any) -> None:
        if any(figure is each for each in seen):  # it is saved twice: as lines, and as pixels
            return write(figure, *arguments, **options)
        seen.append(figure)
        figure.draw_without_rendering()
        drawn, page = figure.get_tightbbox(), figure.bbox_inches
        ends = drawn.x0 - page.x0, drawn.y0 - page.y0, page.x1 - drawn.x1, page.y1 - drawn.y1
        assert min(ends) > -0.02, f"{arguments[0]} is cut: inches left, bottom, right and top are {ends}"
        return write(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", checked)


@pytest.fixture
def study(write: Write, tmp_path: Path) -> SummarizeStudy:
    dataset = write("artifacts/datasets/toy-00000000")
    (tmp_path / dataset / "dataset.json").write_text(json.dumps({"classes": ["a", "b", "c", "d"]}))
    values = {"tte": [71.0, 72.0, 74.0], "joint": [70.0, 70.5, 72.5]}
    cells = [
        Cell(
            row=row,
            column="C10",
            protocol="linear_probe",
            figure=ACCURACY,
            published=73.0 if row == "tte" else None,
            artifacts=tuple(
                write(
                    f"artifacts/target/{row}.t{trial}-{trial:08x}",
                    {"accuracy": value, "train_accuracy": 90.0 + trial, "note": "no number"},
                    inputs={"dataset": dataset},
                    versions={"torch": "2.9", "numpy": f"2.{trial}"},
                )
                for trial, value in enumerate(accuracies)
            ),
        )
        for row, accuracies in values.items()
    ]
    single = Cell(
        row="tte",
        column="C100",
        protocol="classification",
        figure=Measured(name="cross_entropy", lower_is_better=True),
        artifacts=(write("artifacts/target/hundred-aaaaaaaa", {"cross_entropy": 0.5}, hardware={"name": "a GPU"}),),
    )
    source = write("artifacts/source/s.t0-12345678", history="epoch,loss,order\n1,2.5,jig\n2,1.25,col\n")
    measured = tuple(folder for cell in (*cells, single) for folder in cell.artifacts)
    return SummarizeStudy(
        name="toy",
        title="Does it work?",
        description="A toy.",
        scale="smoke",
        trials=3,
        rows=("tte", "joint"),
        columns=("C10", "C100"),
        cells=(*cells, single),
        compare=(Comparison(row="tte", against="joint", question="Does fusion help?"),),
        artifacts=(dataset, source, *measured),
    )
