"""What is read of a measuring artifact beside its figures."""

import json
from pathlib import Path

import pytest

from tessera.figures import Figure
from tessera.report.records import chance, cost


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of four classes, and an artifact that was measured on it and says what guessing gives of one figure."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"classes": list("abcd")}))
    for name in ("plain", "told"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "artifact.json").write_text(json.dumps({"inputs": {"dataset": "data"}}))
    (tmp_path / "told" / "chance.json").write_text(
        json.dumps({"task.column.accuracy": 10.0, "task.cross_entropy": 2.3})
    )
    return tmp_path


def test_an_artifact_that_tells_its_chance_is_believed_before_the_dataset_is_counted(root: Path) -> None:
    accuracy = Figure(name="accuracy", unit="%", guesses=1)
    assert chance(root, "plain", accuracy) == 25.0
    assert chance(root, "told", Figure(name="task.column.accuracy", unit="%")) == 10.0
    assert chance(root, "told", Figure(name="task.other", unit="%")) is None
    assert chance(root, "told", Figure(name="task.cross_entropy", lower_is_better=True)) is None  # no share


def test_chance_is_that_of_the_label_column_that_was_read(root: Path) -> None:
    about = {"classes": list("abcd"), "columns": {"side": {"kind": "class", "classes": ["x", "y"]}}}
    (root / "data" / "dataset.json").write_text(json.dumps(about))
    for column, guess in (("side", 50.0), (None, 25.0), ("gone", None)):
        content = {"inputs": {"dataset": "data"}, "settings": {"labels": column} if column else {}}
        (root / "plain" / "artifact.json").write_text(json.dumps(content))
        assert chance(root, "plain", Figure(name="accuracy", unit="%", guesses=1)) == guess


def test_a_training_that_was_extended_counts_whole_and_what_that_saved_is_said(root: Path) -> None:
    for name, about in {
        "short": {"seconds": 100.0},
        "long": {"seconds": 7500.0, "extends": {"state": "artifacts/states/s", "epochs": 3, "seconds": 90.0}},
    }.items():
        (root / name).mkdir()
        (root / name / "artifact.json").write_text(json.dumps(about))
    found = cost(root, ["short", "long"])
    assert (found.seconds, found.extended) == (7600.0, 90.0)
    assert "2 artifacts, 2.1 h of compute. Each training counts whole" in found.sentence()
    assert "the state of a shorter one, which saved 2 min of that." in found.sentence()
    assert "saved" not in cost(root, ["short"]).sentence()
