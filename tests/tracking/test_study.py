"""A study has one run above its jobs': its table, figures and pictures, however often it is synced."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tessera.study.jobs import Cell, SummarizeStudy
from tessera.tracking.store import PARENT, Store
from tessera.tracking.study import TABLE, read_study
from tessera.tracking.sync import sync

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own

Write = Callable[..., Path]
MEASURED = "artifacts/target/m.t0-0000000a"
SHARED = "artifacts/datasets/d-0000000b"


def study(name: str) -> SummarizeStudy:
    cell = Cell(row="tte", column="C10", protocol="knn", metric="accuracy", artifacts=(MEASURED,))
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


def test_runs_stand_below_their_study(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    one, two = study("one"), study("two")
    studies = {MEASURED: ["one"], SHARED: ["two", "one"]}
    for artifact in (MEASURED, SHARED):
        write_artifact(tmp_path / artifact)
    assert sync(uri, "tessera", studies, tmp_path, [one]).recorded == 3
    store = Store(uri, "tessera")
    runs = store.runs()
    parent = runs["results/one"]
    assert (parent.info.run_name, parent.info.status) == ("one", "SCHEDULED")
    assert [runs[artifact].data.tags[PARENT] for artifact in (MEASURED, SHARED)] == [parent.info.run_id] * 2

    write_results(one, tmp_path)
    write_results(two, tmp_path)
    done = sync(uri, "tessera", studies, tmp_path, [one, two])
    assert (done.recorded, done.known, done.failure) == (2, 2, None)
    runs = store.runs()
    assert runs["results/one"].info.run_id == parent.info.run_id
    assert runs["results/one"].info.status == "FINISHED"
    assert runs["results/one"].data.metrics == {"tte/C10": 50.0}
    assert runs["results/one"].data.tags["mlflow.note.content"].startswith("# Does it help?")
    # A run of several studies stays where it is.
    assert runs[SHARED].data.tags[PARENT] == parent.info.run_id
    listed = {item.path for item in store.client.list_artifacts(parent.info.run_id)}
    assert listed == {"table.md", "table.csv", "table.json", TABLE, "figures"}
    table = store.client.load_table(store.experiment_id, TABLE, [parent.info.run_id])
    assert table.to_dict("records")[0]["mean"] == 50.0

    again = sync(uri, "tessera", studies, tmp_path, [one, two])
    assert (again.recorded, again.known) == (0, 4)
    write_results(one, tmp_path, mean=60.0)
    changed = sync(uri, "tessera", studies, tmp_path, [one, two])
    assert (changed.recorded, changed.known) == (1, 3)
    assert store.runs()["results/one"].data.metrics == {"tte/C10": 60.0}
    assert len(store.runs()) == 4


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
