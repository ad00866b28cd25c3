"""Figure 1: which pretrainings it shows, under which name, and that it shows their figures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tessera.jobs import Cell, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.report.lineage import pretrainings, short_names
from tessera.report.pictures.impact import draw_impact, read_panels
from tessera.report.pictures.previews import draw_previews
from tessera.report.pictures.retrieval import draw_confusion, draw_map, draw_retrieval

HISTORY = "epoch,order,jigsaw.loss,jigsaw.impact,my.package:Task.impact\n1,a > b,2,{0},0.002\n2,b > a,1,{1},0.001\n"


@pytest.fixture
def study(write: Any) -> SummarizeStudy:
    """Two methods in two trials, one through a target network; a third with a joint schedule."""
    plain = [
        write(
            f"artifacts/source/plain.t{t}-0000000{t}", {"impact_spread": 0.5 + t}, HISTORY.format(0.01 + t / 100, 0.02)
        )
        for t in range(2)
    ]
    tte = [
        write(f"artifacts/source/tte.t{t}-1111111{t}", {"impact_spread": 0.2}, HISTORY.format(0.004, 0.005))
        for t in range(2)
    ]
    joint = write("artifacts/source/joint.t0-22222222", {"epoch": 2}, "epoch,jigsaw.loss\n1,2\n")
    networks = [write(f"artifacts/transfer/n.t{t}-3333333{t}", inputs={"source": tte[t]}) for t in range(2)]
    probes = [
        write(f"artifacts/target/p.t{t}-4444444{t}", {"accuracy": 50.0}, inputs={"source": plain[t]}) for t in range(2)
    ]
    measured = [
        write(f"artifacts/target/m.t{t}-5555555{t}", {"accuracy": 60.0}, inputs={"network": networks[t]})
        for t in range(2)
    ]
    other = write("artifacts/target/j.t0-66666666", {"accuracy": 1.0}, inputs={"source": joint})
    cells = {"plain": tuple(probes), "TTE": tuple(measured), "joint": (other,)}
    return SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=2, rows=tuple(cells), columns=("",), artifacts=(),
        cells=tuple(
            Cell(row=row, column="", protocol="p", figure=ACCURACY, artifacts=made) for row, made in cells.items()
        ),
    )  # fmt: skip


def test_panels_follow_the_rows_and_leave_out_what_takes_no_turns(study: SummarizeStudy, tmp_path: Path) -> None:
    assert [one.title for one in pretrainings(study, tmp_path)] == ["plain", "TTE", "joint"]
    plain, tte = read_panels(study, tmp_path)
    assert (plain.title, tte.title) == ("plain", "TTE")
    assert plain.tasks == ["jigsaw", "my.package:Task"]
    assert plain.mean("jigsaw") == pytest.approx([0.015, 0.02])
    assert plain.mean("my.package:Task") == pytest.approx([0.002, 0.001])
    assert (plain.spread, tte.spread) == pytest.approx((1.0, 0.2))


def test_a_pretraining_of_several_rows_is_one_panel_named_after_them(study: SummarizeStudy, tmp_path: Path) -> None:
    made = {cell.row: cell.artifacts for cell in study.cells}
    cells = [
        Cell(row=row, column=column, protocol="p", figure=ACCURACY, artifacts=made[of])
        for row, column, of in [
            ("a", "x", "TTE"), ("b", "x", "TTE"), ("c", "x", "plain"), ("c", "y", "joint"), ("d", "x", "TTE")
        ]
    ]  # fmt: skip
    several = study.model_copy(update={"cells": tuple(cells), "rows": tuple("abcd"), "columns": ("x", "y")})
    titles = [one.title for one in pretrainings(several, tmp_path)]
    assert titles == ["a and 2 other rows", "c (x)", "c (y)"]


def test_a_training_has_the_name_that_others_are_named_after() -> None:
    assert short_names(["TTE", "soft targets from TTE", "FSP from TTE"]) == ["TTE"]
    assert short_names(["equal", "TTEs", "TTE"]) == ["equal", "TTEs", "TTE"]  # words, not letters


@pytest.mark.usefixtures("fine")
def test_the_picture_names_tasks_methods_and_unevenness(study: SummarizeStudy, tmp_path: Path) -> None:
    (picture,) = draw_impact(study, tmp_path, tmp_path / "figures")
    assert picture.file == "impact.png"
    assert "Eq. 7" in picture.caption
    text = (tmp_path / "figures" / "impact.svg").read_text()
    for shown in (
        "jigsaw",
        "my.package:Task",
        "plain",
        "TTE",
        "unevenness 1.00, 2 trials",
        "unevenness 0.20, 2 trials",
    ):
        assert shown in text
    assert "joint" not in text
    assert (tmp_path / "figures" / "impact.png").stat().st_size > 5_000


@pytest.mark.usefixtures("fine")
@pytest.mark.slow
def test_equal_figures_are_equal_files_in_any_process_without_torch(study: SummarizeStudy, tmp_path: Path) -> None:
    draw_impact(study, tmp_path, tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from tessera.report.pictures.impact import draw_impact;"
        "from tessera.jobs import SummarizeStudy; from tessera.report.pictures import previews, retrieval;"
        "draw_impact(SummarizeStudy.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]));"
        "sys.exit('torch' in sys.modules)"
    )
    workflow = Path(__file__).parents[3] / "workflow"
    arguments = [
        sys.executable,
        "-c",
        code,
        json.dumps(study.model_dump(mode="json")),
        str(tmp_path),
        str(tmp_path / "there"),
    ]
    subprocess.run(arguments, env={**os.environ, "PYTHONPATH": str(workflow), "PYTHONHASHSEED": "1"}, check=True)
    for name in ("impact.png", "impact.svg"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_a_study_of_earlier_artifacts_has_no_picture(study: SummarizeStudy, tmp_path: Path) -> None:
    alone = study.model_copy(update={"cells": study.cells[-1:], "rows": ("joint",)})
    for draw in (draw_impact, draw_previews, draw_retrieval, draw_map, draw_confusion):
        assert draw(alone, tmp_path, tmp_path / "figures") == []
    assert not (tmp_path / "figures").exists()
