"""A cell's run says what was varied, as it was resolved, and the figure that came of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tessera.jobs import Job
from tessera.study.plan import Plan, make_plan
from tessera.tracking.cells import Chains, read_cells
from tessera.tracking.view import RunView, read_view

ROOT = Path(__file__).parents[2]
ROWS = ("equal", "random")


def write(job: Job, root: Path) -> None:
    folder = root / job.folder
    folder.mkdir(parents=True)
    manifest = {
        "kind": job.stage,
        "name": job.name,
        "key": job.key,
        "trial": job.trial,
        "settings": job.settings,
        "inputs": job.inputs,
        "code": "c0de",
        "seconds": 10.0,
        "finished": "2026-01-01T00:00:20+00:00",
    }
    (folder / "artifact.json").write_text(json.dumps(manifest))
    (folder / "metrics.json").write_text(json.dumps({"accuracy": 40.0 + (job.trial or 0)}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The quickstart, as if all of it were made."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("scales", "methods"):
        shutil.copytree(ROOT / "config" / folder, root / "config" / folder)
    (root / "config" / "studies").mkdir()
    shutil.copy(ROOT / "config" / "studies" / "quickstart.yaml", root / "config" / "studies")
    plan = make_plan({"studies": ["quickstart"]}, root)
    for job in plan.jobs.values():
        write(job, root)
    return plan


@pytest.fixture(scope="module")
def cells(made: Plan) -> dict[str, RunView]:
    """Name to run."""
    found = read_cells(made.studies["quickstart"], made.asked["quickstart"], Chains(made.root))
    return {cell.view.name: cell.view for _, cell in found}


@pytest.fixture
def along(tmp_path: Path) -> Plan:
    """A study along a training, as if all of it were made."""
    for folder in ("scales", "methods"):
        shutil.copytree(ROOT / "config" / folder, tmp_path / "config" / folder)
    study = {
        "title": "x",
        "trials": 2,
        "base": {
            "source": {"dataset": "digits_m", "encoder": "resnet8", "tasks": ["rotation"], "snapshots": [1, 3]},
            "target": {"dataset": "digits_m", "protocol": "knn", "at": "all"},
        },
        "at_scale": {"smoke": {"source": {"epochs": 5}}},
        "grid": {"rows": {"source.method": ["equal", "random"]}},
    }
    (tmp_path / "config" / "studies").mkdir()
    (tmp_path / "config" / "studies" / "small.yaml").write_text(json.dumps(study))
    plan = make_plan({"studies": ["small"], "scale": "smoke"}, tmp_path)
    for job in plan.jobs.values():
        write(job, tmp_path)
        accuracy = 40.0 + (job.trial or 0) + (job.settings.get("at") or 9)
        (tmp_path / job.folder / "metrics.json").write_text(json.dumps({"accuracy": accuracy}))
    return plan


def test_a_cell_along_a_training_has_its_course_in_steps_and_its_measurements_beneath_it(along: Plan) -> None:
    found = [cell for _, cell in read_cells(along.studies["small"], along.asked["small"], Chains(along.root))]
    assert len(found) == 2 * 2  # one a cell and trial, as ever
    equal, random = (next(cell for cell in found if cell.view.name == f"{row} · knn · trial 1") for row in ROWS)
    courses = [[(step, value) for name, value, _, step in cell.view.metrics if name == "accuracy"] for cell in
               (equal, random)]  # fmt: skip
    assert courses == [[(1, 42.0), (3, 44.0), (5, 50.0)], [(0, 50.0)]]
    measured = [folder for folder in equal.chain if folder.startswith("artifacts/target/")]
    assert {along.jobs[folder].settings.get("at") for folder in measured} == {1, 3, None}
    assert {along.jobs[folder].trial for folder in measured} == {1}
    assert ("seconds", 30.0) in [metric[:2] for metric in equal.view.metrics]  # of what led to the figure


def test_every_cell_has_a_run_in_every_trial(cells: dict[str, RunView], made: Plan) -> None:
    assert len(cells) == 3 * len(made.studies["quickstart"].cells)
    assert len({view.artifact for view in cells.values()}) == len(cells)
    view = cells["rotation and jigsaw, TTE · linear probe · trial 2"]
    assert {name: value for name, value, _, _ in view.metrics} == {"accuracy": 42.0, "seconds": 40.0}
    assert view.end_ms - view.start_ms == 40_000  # dataset, permutations, pretraining, probe


@pytest.mark.parametrize(
    ("name", "params"),
    [
        (
            "rotation and jigsaw, TTE · linear probe · trial 2",
            {
                "row": "rotation and jigsaw, TTE",
                "column": "linear probe",
                "trial": "2",
                "metric": "accuracy",
                "method": "tte",
                "tasks": "rotation+jigsaw",
                "encoder": "resnet8",
                "source_dataset": "digits_m",
                "transfer": "none",
                "network": "none",
                "dataset": "digits_m",
                "label_fraction": "0.1",
                "protocol": "linear_probe",
            },
        ),
        ("target only · student, 100 labels · trial 0", {"label_fraction": "0.02", "method": "none", "tasks": "none"}),
        (
            "FSP from rotation · student, 100 labels · trial 0",
            {"label_fraction": "0.02", "transfer": "fsp", "transfer.mode": "joint", "network": "reduced_alexnet"},
        ),
        (
            "rotation clustered · clusters · trial 0",
            {"label_fraction": "none", "target.protocol.train_encoder": "false", "protocol": "clustering"},
        ),
        ("untrained · kNN · trial 1", {"method": "random", "tasks": "none", "protocol": "knn"}),
    ],
)
def test_a_cell_says_what_it_is(name: str, params: dict[str, str], cells: dict[str, RunView]) -> None:
    view = cells[name]
    assert params.items() <= view.params.items()
    if "row" in params:
        assert set(params) == set(view.params)  # what only other cells have is left out


def test_what_measures_a_network_tells_the_labels_that_it_learned_from(made: Plan) -> None:
    measured = [job for job in made.jobs.values() if "network" in job.inputs]
    told = {read_view(made.root / job.folder, job.folder).params["label_fraction"] for job in measured}
    assert told == {"0.02"}
    assert {job.settings["label_fraction"] for job in measured} == {1.0}  # all test images are measured


@pytest.mark.parametrize(
    "content", ["", "null", "[]", "{}", '{"kind": "a", "inputs": [], "seconds": 1, "finished": ""}']
)
def test_a_damaged_manifest_makes_no_cell(content: str, made: Plan, tmp_path: Path) -> None:
    cell = made.studies["quickstart"].cells[0]
    folder = tmp_path / cell.artifacts[0]
    folder.mkdir(parents=True)
    (folder / "artifact.json").write_text(content)
    asked: Any = made.asked["quickstart"]
    assert list(read_cells(made.studies["quickstart"], asked, Chains(tmp_path))) == []
