"""A study has one run above its jobs': its table, figures and pictures, however often it is synced."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tessera.jobs import Cell, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.tracking.store import PARENT, Store
from tessera.tracking.study import TABLE, read_study
from tessera.tracking.sync import sync

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own

Write = Callable[..., Path]
MEASURED = "artifacts/target/m.t0-0000000a"
SHARED = "artifacts/datasets/d-0000000b"
OWN = "artifacts/source/not-measured-0000000d"


def dump(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def study(name: str) -> SummarizeStudy:
    cell = Cell(
        row="tte",
        column="C10",
        protocol="knn",
        figure=ACCURACY,
        artifacts=(MEASURED,),
    )
    return SummarizeStudy(
        name=name,
        title="Does it help?",
        description="A question.",
        scale="smoke",
        trials=1,
        rows=("tte",),
        columns=("C10",),
        cells=(cell,),
        artifacts=(SHARED, MEASURED),
    )


def write_results(summary: SummarizeStudy, root: Path, mean: float = 50.0) -> Path:
    folder = root / "results" / summary.name
    (folder / "figures" / "more").mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(f"# Does it help?\n\n| tte | {mean} |\n\n![a](figures/a.png)\n")
    (folder / "table.csv").write_text(f"row,mean\ntte,{mean}\n")
    cell = {"row": "tte", "column": "C10", "protocol": "knn", "metric": "accuracy", "mean": mean, "values": [mean]}
    (folder / "table.json").write_text(json.dumps({"cells": [cell]}))
    (folder / "metrics.json").write_text(json.dumps({"tte": {"C10": mean}}))
    for name in ("a.png", "more/b.svg", "index.json"):
        (folder / "figures" / name).write_text("x")
    (root / summary.marker).write_text("{}")
    return folder


def test_a_view_holds_all_that_a_study_shows(tmp_path: Path) -> None:
    summary = study("one")
    before = read_study(summary, tmp_path)
    assert (before.note, before.files, before.digest) == ("# Does it help?\n\nA question.", {}, "")
    folder = write_results(summary, tmp_path)
    view = read_study(summary, tmp_path)
    assert view.metrics == {"tte/C10": 50.0}
    assert view.note == "# Does it help?\n\n| tte | 50.0 |"
    shown = {path.relative_to(folder).as_posix(): where for path, where in view.files.items()}
    tables = {"table.md": "", "table.csv": "", "table.json": ""}
    assert shown == {**tables, "figures/a.png": "figures", "figures/more/b.svg": "figures/more"}
    assert view.table == {
        "columns": ["row", "column", "protocol", "metric", "mean", "values"],
        "data": [["tte", "C10", "knn", "accuracy", 50.0, "50"]],
    }
    assert read_study(summary, tmp_path).digest == view.digest
    (folder / "figures" / "a.png").write_text("y")
    assert read_study(summary, tmp_path).digest != view.digest


def test_a_long_table_is_cut_between_lines(tmp_path: Path) -> None:
    summary = study("one")
    (write_results(summary, tmp_path) / "table.md").write_text("| a row of a table |\n" * 1000)
    note = read_study(summary, tmp_path).note
    assert len(note) < 8000
    assert note.splitlines()[-3:] == ["| a row of a table |", "", "(More in the artifact `table.md`.)"]


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> str:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def cell_of(runs: Mapping[str, Any], summary: SummarizeStudy) -> Any:
    return runs[f"results/{summary.name}/tte/C10/{MEASURED.rpartition('/')[2]}"]


def test_runs_of_jobs_stand_below_their_cell_and_that_below_its_study(
    uri: str, write_artifact: Write, tmp_path: Path
) -> None:
    one, two = study("one"), study("two")
    studies = {MEASURED: ["one"], SHARED: ["two", "one"], OWN: ["one"]}
    write_artifact(tmp_path / MEASURED, kind="evaluate_target", inputs={"dataset": SHARED})
    write_artifact(tmp_path / SHARED, inputs={}, trial=None, finished="2026-01-01T00:00:00+00:00", seconds=10.0)
    write_artifact(tmp_path / OWN)
    assert sync(uri, "tessera", studies, tmp_path, [one]).recorded == 5
    store = Store(uri, "tessera")
    runs = store.runs()
    parent, cell = runs["results/one"], cell_of(runs, one)
    assert (parent.info.run_name, parent.info.status) == ("one", "SCHEDULED")
    assert (cell.info.run_name, cell.info.status) == ("tte · C10 · trial 0", "FINISHED")
    assert cell.data.tags[PARENT] == runs[OWN].data.tags[PARENT] == parent.info.run_id
    assert [runs[artifact].data.tags[PARENT] for artifact in (MEASURED, SHARED)] == [cell.info.run_id] * 2
    assert runs[SHARED].data.tags["cells"] == "one: tte · C10"
    # What it took is what its jobs took; a study lasts from the first of them to the last.
    assert cell.info.end_time - cell.info.start_time == 30_000
    assert cell.data.metrics == {"accuracy": 50.0, "seconds": 30.0}
    assert parent.info.start_time == runs[SHARED].info.start_time

    write_results(one, tmp_path)
    write_results(two, tmp_path)
    done = sync(uri, "tessera", studies, tmp_path, [one, two])
    assert (done.recorded, done.known, done.failure) == (3, 4, None)  # both studies, and the other's cell
    runs = store.runs()
    assert runs["results/one"].info.run_id == parent.info.run_id
    assert runs["results/one"].info.status == "FINISHED"
    assert runs["results/one"].info.end_time - runs["results/one"].info.start_time == 30_000
    assert runs["results/one"].data.metrics == {"tte/C10": 50.0}
    assert runs["results/one"].data.tags["mlflow.note.content"].startswith("# Does it help?")
    # A run of several cells stays where it is, and names them.
    assert runs[SHARED].data.tags[PARENT] == cell.info.run_id
    assert runs[SHARED].data.tags["cells"] == "one: tte · C10; two: tte · C10"
    listed = {item.path for item in store.client.list_artifacts(parent.info.run_id)}
    assert listed == {"table.md", "table.csv", "table.json", TABLE, "figures"}
    table = store.client.load_table(store.experiment_id, TABLE, [parent.info.run_id])
    assert table.to_dict("records")[0]["mean"] == 50.0

    before = dump(tmp_path / "mlflow.db")
    again = sync(uri, "tessera", studies, tmp_path, [one, two])
    assert (again.recorded, again.known) == (0, 7)
    assert dump(tmp_path / "mlflow.db") == before
    write_results(one, tmp_path, mean=60.0)
    changed = sync(uri, "tessera", studies, tmp_path, [one, two])
    assert (changed.recorded, changed.known) == (1, 6)
    assert store.runs()["results/one"].data.metrics == {"tte/C10": 60.0}
    assert len(store.runs()) == 7


def test_a_cell_of_another_configuration_is_told_from_those_of_the_table(
    uri: str, write_artifact: Write, tmp_path: Path
) -> None:
    other = "artifacts/target/m.t0-0000000c"
    for artifact in (MEASURED, other):
        write_artifact(tmp_path / artifact, inputs={})
    now = study("one")
    then = now.model_copy(update={"cells": (now.cells[0].model_copy(update={"artifacts": (other,)}),)})
    for summary, current in ((then, {other: "yes"}), (now, {other: "no", MEASURED: "yes"}), (then, {MEASURED: "no"})):
        assert sync(uri, "tessera", {}, tmp_path, [summary]).failure is None
        runs = Store(uri, "tessera").runs()
        for artifact, word in current.items():
            run = runs[f"results/one/tte/C10/{artifact.rpartition('/')[2]}"]
            assert run.data.tags["current"] == word


def test_runs_of_an_older_store_get_their_place_and_name(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    """Each once stood right below its study, and was called as its folder."""
    write_artifact(tmp_path / MEASURED, kind="evaluate_target", inputs={}, trial=0)
    store = Store(uri, "tessera")
    study_run = store.start("results/one", "one", {"stage": "study"})
    old = store.start(MEASURED, MEASURED.rpartition("/")[2], {PARENT: study_run})
    store.finish(old, "FINISHED")
    assert sync(uri, "tessera", {MEASURED: ["one"]}, tmp_path, [study("one")]).failure is None
    runs = store.runs()
    assert runs[MEASURED].info.run_id == old
    assert runs[MEASURED].info.run_name == "evaluate_target · m · trial 0"
    assert runs[MEASURED].data.tags[PARENT] == cell_of(runs, study("one")).info.run_id
    store.tag(runs[MEASURED], {"mlflow.runName": "mine"})
    sync(uri, "tessera", {MEASURED: ["one"]}, tmp_path, [study("one")])
    assert store.runs()[MEASURED].info.run_name == "mine"


def test_a_study_of_which_nothing_was_measured_has_no_run(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    write_artifact(tmp_path / SHARED)
    assert sync(uri, "tessera", {SHARED: ["one"]}, tmp_path, [study("one")]).recorded == 1
    (run,) = Store(uri, "tessera").runs().values()
    assert PARENT not in run.data.tags


def test_what_another_study_measured_begins_no_study(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    write_artifact(tmp_path / MEASURED)
    sync(uri, "tessera", {MEASURED: ["two", "one"]}, tmp_path, [study("one")])
    assert set(Store(uri, "tessera").runs()) == {MEASURED}


def test_damaged_results_do_not_hide_the_runs(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    write_artifact(tmp_path / MEASURED)
    (write_results(study("one"), tmp_path) / "table.json").write_text("{")
    done = sync(uri, "tessera", {MEASURED: ["one"]}, tmp_path, [study("one")])
    assert (done.recorded, done.failure) == (1, None)
