"""Dot plots: one scale for all columns of a figure, chance on it wherever it is known."""

import json
from pathlib import Path
from typing import Any

from tessera.figures import Figure
from tessera.jobs import Cell, SummarizeStudy
from tessera.protocols.options import ACCURACY, ClusteringOptions
from tessera.report.page.dots import enclosing, plots
from tessera.report.tables.table import read_table

CLUSTERED = ClusteringOptions().figures(None)[0]


def test_columns_of_a_figure_share_their_limits(write: Any, tmp_path: Path) -> None:
    measured = {"probe": [24.0, 44.0], "student": [82.0, 79.0], "clusters": [30.0, 31.0], "mAP": [12.0, 19.0]}
    protocols = {"probe": "linear_probe", "student": "classification", "clusters": "clustering", "mAP": "detection"}
    figures = {"probe": ACCURACY, "student": ACCURACY, "clusters": CLUSTERED, "mAP": Figure(name="map_voc07", unit="%")}
    datasets = {}
    for column, classes in (("probe", 10), ("student", 100)):
        datasets[column] = write(f"artifacts/datasets/{column}-00000000")
        about = {"classes": [str(number) for number in range(classes)]}
        (tmp_path / datasets[column] / "dataset.json").write_text(json.dumps(about))
    cells = [
        Cell(
            row=row, column=column, protocol=protocols[column], figure=figures[column],
            artifacts=(
                write(
                    f"artifacts/{'clusters' if column == 'clusters' else 'target'}/{column}{row}-00000000",
                    {"map_voc07" if column == "mAP" else "accuracy": value},
                    inputs={"dataset": datasets[column]} if column in datasets else {},
                ),
            ),
        )
        for column, values in measured.items()
        for row, value in zip("ab", values, strict=True)
    ]  # fmt: skip
    study = SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=1, rows=("a", "b"), columns=tuple(measured),
        cells=tuple(cells), artifacts=(),
    )  # fmt: skip
    probe, student, clusters, boxes = plots(read_table(study, tmp_path))
    assert probe.ticks == student.ticks == clusters.ticks != boxes.ticks
    assert (probe.ticks[0][1], probe.ticks[-1][1]) == ("0", "100")
    # Chance is 10 and 1 of the same axis; of clusters and boxes it is not known.
    assert (probe.chance, student.chance, clusters.chance, boxes.chance) == (10.0, 1.0, None, None)
    assert (probe.guess, student.guess, clusters.guess) == ("10", "1", "")
    assert [strip.text for strip in probe.strips] == ["24.0", "44.0"]


def test_a_scale_of_nothing_but_zero_does_not_go_below() -> None:
    assert enclosing([0.0, 0.0]).values[0] == 0
    assert enclosing([None]).values == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_a_column_without_any_figure_has_no_plot(study: SummarizeStudy, tmp_path: Path, write: Any) -> None:
    write(study.cells[2].artifacts[0], {"cross_entropy": None})
    assert [plot.column for plot in plots(read_table(study, tmp_path))] == ["C10"]
