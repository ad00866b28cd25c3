"""What `dvc metrics show` and `dvc plots show` read: one place for all studies."""

import csv
import json
from pathlib import Path

from tessera.tracking.dvc import gather


def test_metrics_of_all_studies_stand_in_one_file_and_curves_in_one_folder(tmp_path: Path) -> None:
    for study, value in (("one", 1.0), ("two", 2.0)):
        folder = tmp_path / "results" / study
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({"row": {"column": value}}))
        (folder / "curves.csv").write_text(
            f"stage,artifact,epoch,name,value\npretrain_source,a,1,jigsaw.loss,{value}\npretrain_source,a,1,seconds,9\n"
        )
    gather(tmp_path)
    gathered = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("results/metrics/*/*")}
    assert gathered == {"row.column.json": {"mean": 2.0}}
    assert json.loads((tmp_path / "results/metrics/one/row.column.json").read_text()) == {"mean": 1.0}
    with (tmp_path / "results/plots/two.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert lines == [{"epoch": "1", "value": "2.0", "curve": "pretrain_source jigsaw.loss", "artifact": "a"}]


def test_damaged_results_of_one_study_keep_none_from_being_shown(tmp_path: Path) -> None:
    for study, metrics, curves in (
        ("broken", "<<<<<<< HEAD", "<<<<<<< HEAD\nstage,artifact\n"),
        ("deep", "[" * 5000, "stage,artifact,epoch,name,value\na\n"),
        ("whole", '{"row": {"column": 1.0}}', "stage,artifact,epoch,name,value\npretrain_source,a,1,jigsaw.loss,1\n"),
    ):
        folder = tmp_path / "results" / study
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(metrics)
        (folder / "curves.csv").write_text(curves)
    gather(tmp_path)
    assert [path.parent.name for path in (tmp_path / "results/metrics").glob("*/*")] == ["whole"]
    assert [path.name for path in (tmp_path / "results/plots").iterdir()] == ["whole.csv"]
