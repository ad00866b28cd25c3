"""The picture of |alpha|: what it reads, what it shows, and that equal figures are equal files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tessera.jobs import SummarizeStudy
from tessera.report.pictures.album import make_album
from tessera.report.pictures.drawing import DOTS_PER_INCH
from tessera.report.pictures.sharing import draw_sharing, read_panels

WORDS = "cifar10.resnet26.round_robin.jig-col"
UNITS = ("stage3.unit1", "stage3")


def share(*values: float, tasks: tuple[str, str] = ("jigsaw", "my.package:Task")) -> dict[str, float]:
    """Metrics as a pretraining leaves them: values task by task, unit by unit."""
    names = [(task, unit) for task in tasks for unit in UNITS]
    shares = {f"share.{task}.{unit}": value for (task, unit), value in zip(names, values, strict=True)}
    return {**{f"{task}.loss": 1.5 for task in tasks}, "epoch": 3, **shares}


@pytest.fixture
def pretrainings(write: Any) -> tuple[str, ...]:
    """Two trials of one pretraining, one of another that differs in an option, and one that shares hard."""

    def settings(weight: float) -> dict[str, Any]:
        return {"source": {"sharing": {"name": "lasso", "weight": weight}, "tasks": [{"name": "jigsaw"}], "epochs": 3}}

    return (
        write(f"artifacts/source/{WORDS}.t0-00000000", share(0.2, 0.9, 0.6, 0.8), settings=settings(0.001)),
        write(f"artifacts/source/{WORDS}.t1-11111111", share(0.4, 0.7, 0.8, 0.6), settings=settings(0.001)),
        write(f"artifacts/source/{WORDS}.t0-22222222", share(1.0, 0.0, 0.0, 1.0), settings=settings(0.01)),
        write("artifacts/source/cifar10.resnet26.tte.jig-col.t0-33333333", {"jigsaw.loss": 1.0, "alpha.jigsaw": 0.5}),
        write("artifacts/source/unfinished.t0-44444444"),
        write("artifacts/target/knn.t0-55555555", {"accuracy": 10.0, "share.of.labels": 1.0}),
    )


def test_panels_are_means_over_the_trials_of_each_pretraining(pretrainings: tuple[str, ...], tmp_path: Path) -> None:
    one, other = read_panels(tmp_path, pretrainings)
    assert (one.trials, other.trials) == (2, 1)
    assert (one.tasks, one.units) == (("jigsaw", "my.package:Task"), UNITS)
    assert one.values == pytest.approx(
        {
            ("jigsaw", "stage3.unit1"): 0.3,
            ("jigsaw", "stage3"): 0.8,
            ("my.package:Task", "stage3.unit1"): 0.7,
            ("my.package:Task", "stage3"): 0.7,
        }
    )
    assert one.title == "cifar10, resnet26, round_robin, jig-col, sharing.weight 0.001"
    assert other.title == "cifar10, resnet26, round_robin, jig-col, sharing.weight 0.01"
    (alone,) = read_panels(tmp_path, pretrainings[:2])
    assert alone.title == "cifar10, resnet26, round_robin, jig-col"  # nothing to tell apart


def study_of(artifacts: tuple[str, ...]) -> SummarizeStudy:
    return SummarizeStudy(
        name="toy",
        title="",
        description="",
        scale="smoke",
        trials=2,
        rows=(),
        columns=(),
        cells=(),
        artifacts=artifacts,
    )


@pytest.mark.usefixtures("fine")
def test_picture_prints_every_value_task_and_unit(pretrainings: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    (picture,) = draw_sharing(study_of(pretrainings), tmp_path, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["sharing.png", "sharing.svg"]
    text = (folder / "sharing.svg").read_text()
    for shown in ("0.30", "0.80", "0.70", "1.00", "0.00", "jigsaw", "my.package:Task", "stage3.unit1", "|α|"):
        assert f">{shown}<" in text
    assert "mean of 2 trials" in text
    assert "one trial" in text
    with Image.open(folder / picture.file) as image:
        assert image.width == 7.5 * DOTS_PER_INCH


@pytest.mark.usefixtures("fine")
@pytest.mark.slow
def test_equal_figures_are_equal_files_in_any_process(pretrainings: tuple[str, ...], tmp_path: Path) -> None:
    files = make_album(study_of(pretrainings), tmp_path).files
    (tmp_path / "study.json").write_text(study_of(pretrainings).model_dump_json())
    code = (
        "import sys; from pathlib import Path; from tessera.report.pictures.album import make_album;"
        "from tessera.jobs import SummarizeStudy; root = Path(sys.argv[1]);"
        "study = SummarizeStudy.model_validate_json((root / 'study.json').read_text());"
        "make_album(study, root).write(root / 'again');"
        "sys.exit('torch' in sys.modules)"
    )
    workflow = Path(__file__).parents[3] / "workflow"
    arguments = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(arguments, env={**os.environ, "PYTHONPATH": str(workflow), "PYTHONHASHSEED": "1"}, check=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    assert b"<dc:date>" not in files["sharing.svg"]


def test_nothing_is_drawn_where_no_task_mixes_units(pretrainings: tuple[str, ...], tmp_path: Path) -> None:
    assert draw_sharing(study_of(pretrainings[3:]), tmp_path, tmp_path / "figures") == []
    assert not (tmp_path / "figures").exists()
