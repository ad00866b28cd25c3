"""`tessera diff`: settings that differ, then figures that differ."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tessera.__main__ import main
from tessera.study.plan import Plan


@pytest.fixture
def plan(edited: Any) -> Plan:
    """The study with figures: row 'apart' is 4 above 'together' in each trial."""
    plan: Plan = edited.make()
    for number, job in enumerate(job for job in plan.jobs.values() if job.stage == "evaluate_target"):
        content = {"accuracy": 50.0 + number, "nothing_new": 3.0, "protocol": "knn"}
        Path(job.folder, "metrics.json").write_text(json.dumps(content))
    return plan


def test_two_rows(plan: Plan, tessera: Any) -> None:
    text = tessera("diff", "together", "apart")
    settings, figures = text.split("Figures")
    told = [line.split()[0] for line in settings.splitlines() if line.startswith("    ")]
    assert told == ["source.schedule", "source.regularizer", "source.fusion"]
    assert "    source.fusion       none → tte\n" in settings
    assert "  knn\n    accuracy  50.5 ± 0.71 → 54.5 ± 0.71  (+4)\n" in figures
    assert "nothing_new" not in figures


def test_what_differs_in_one_column_alone_stands_there(edited: Any, tessera: Any) -> None:
    edited.set("grid/rows/1/source.batch_size+target.batch_size", 8)
    edited.make()
    text = tessera("diff", "together", "apart")
    assert "  in classification:\n    target.batch_size  16 → 8\n" in text
    assert text.count("source.fusion") == 1


def test_methods_of_one_training_are_named_and_compared_one_by_one(edited: Any, tessera: Any) -> None:
    sums = (["attention", {"method": "soft_targets", "weight": weight}] for weight in (0.9, 0.4))
    edited.study["grid"]["rows"] = [
        {"label": str(row), "transfer": method} for row, method in enumerate(("attention", *sums))
    ]
    edited.study["base"].pop("transfer")
    edited.set("grid/columns/target.protocol", ["classification"])
    edited.make()
    assert "    transfer  attention → [attention, soft_targets]\n" in tessera("diff", "0", "1")
    assert "Settings\n    transfer.soft_targets.weight  0.9 → 0.4\n" in tessera("diff", "1", "2")


def test_two_artifacts(plan: Plan, tessera: Any) -> None:
    first, second = [job for job in plan.jobs.values() if job.stage == "evaluate_target"][:2]
    text = tessera("diff", first.folder, second.key)
    assert "Settings\n    trial  0 → 1\n" in text
    assert "Figures\n    accuracy  50 → 51  (+1)\n" in text
    assert "Settings: none differ" in tessera("diff", first.name, first.folder)
    assert "Figures: none differ" in tessera("diff", first.name, first.folder)


def test_trainings_are_compared_by_their_last_epoch(plan: Plan, tessera: Any) -> None:
    first, second = [job for job in plan.jobs.values() if job.stage == "pretrain_source"][:2]
    for job, loss in ((first, 2.5), (second, 2.0)):
        Path(job.folder, "history.csv").write_text(f"epoch,jigsaw.loss\n1,9\n2,{loss}\n")
    assert "    jigsaw.loss  2.5 → 2  (−0.5)\n" in tessera("diff", first.name, second.name)


def test_what_is_not_made_is_said(edited: Any, tessera: Any) -> None:
    plan = edited.write()
    text = tessera("diff", "together", "apart")
    assert "source.fusion       none → tte" in text
    assert "'together' is not made yet: `tessera why 'together'`" in text
    first, second = [job for job in plan.jobs.values() if job.stage == "pretrain_source"][:2]
    assert "is not made yet" in tessera("diff", first.name, second.name)


def test_rows_of_several_studies_need_one(edited: Any, tessera: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (edited.root / "config" / "studies" / "other.yaml").write_text(yaml.safe_dump({**edited.study, "title": "Other"}))
    edited.config["studies"] = ["which", "other"]
    edited.write()
    assert main(["diff", "together", "apart"]) == 1
    assert "several studies have both rows (which, other): say which with --study which" in capsys.readouterr().err
    assert tessera("diff", "together", "apart", "--study", "other").startswith("other: 'together' → 'apart'\n")
    assert main(["diff", "together", "apart", "--study", "othr"]) == 1
    assert "Did you mean 'other'?" in capsys.readouterr().err


def test_mistakes(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in {
        ("together", "aprt"): "called 'aprt'. Did you mean 'apart'?",
        ("together", "pretrain"): "called 'pretrain'.",
        ("together", next(iter(plan.jobs))): "'together' is a row, but 'artifacts/datasets/digits_m-",
    }.items():
        assert main(["diff", *words]) == 1
        assert message in capsys.readouterr().err
