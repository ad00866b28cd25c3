"""What MLflow is shown of an artifact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.tracking.view import flatten, metric_name, read_view

Write = Callable[..., Path]


def test_a_view_says_everything_once(write_artifact: Write, tmp_path: Path) -> None:
    view = read_view(write_artifact(tmp_path / "e-01234567"), "artifacts/source/e-01234567", ["a", "b"])
    assert view.end_ms - view.start_ms == 20_000
    assert view.params == {
        "input.dataset": "digits-aaaaaaaa",
        "source.epochs": "2",
        "source.tasks.jigsaw.gray": "0.5",
        "source.tasks.plain": "true",
    }
    assert view.tags.pop("settings").startswith("e ")
    assert view.tags == {
        "stage": "pretrain_source",
        "key": "01234567",
        "trial": "2",
        "studies": "a, b",
        "git_commit": "abc (changed)",
        "code": "c0de",
    }
    shown = [(name, value, step) for name, value, _, step in view.metrics]
    assert shown[:3] == [("seconds", 20.0, 0), ("jigsaw/loss", 3.5, 1), ("plain/loss", 1.5, 1)]
    assert shown[3][0::2] == ("jigsaw/loss", 2)
    assert shown[4:] == [("accuracy", 50.0, 0), ("images/s _GPU_", 7.5, 0)]
    assert all(view.start_ms < time_ms <= view.end_ms for _, _, time_ms, _ in view.metrics)


def test_a_curve_keeps_its_name_whatever_the_order_of_the_tasks(write_artifact: Write, tmp_path: Path) -> None:
    """And ends where it ends: what metrics.json repeats of the last epoch is no point at step 0."""
    folder = write_artifact(tmp_path / "e-01234567")
    (folder / "history.csv").write_text("epoch,seconds,order,jig.loss\n1,7.0,jig > col,3.0\n2,6.0,col > jig,2.0\n")
    (folder / "metrics.json").write_text('{"jig.loss": 2.0, "jig.accuracy": 0.5}')
    shown = [(name, value, step) for name, value, _, step in read_view(folder, "artifacts/source/e").metrics]
    assert shown == [
        ("seconds", 20.0, 0),
        ("epoch_seconds", 7.0, 1),
        ("jig/loss", 3.0, 1),
        ("epoch_seconds", 6.0, 2),
        ("jig/loss", 2.0, 2),
        ("jig/accuracy", 0.5, 0),
    ]


@pytest.mark.parametrize("missing", ["history.csv", "metrics.json"])
def test_what_a_stage_did_not_write_is_left_out(write_artifact: Write, tmp_path: Path, missing: str) -> None:
    folder = write_artifact(tmp_path / "e", git=None, trial=None)
    (folder / missing).unlink()
    view = read_view(folder, "artifacts/source/e")
    assert {"git_commit", "trial"}.isdisjoint(view.tags)
    assert view.metrics


def test_settings_become_flat() -> None:
    settings = {"a": {"b": [1, 2], "c": None}, "d": [{"x": 1}, {"x": 2}], "e": "word"}
    assert dict(flatten(settings)) == {"a.b": "[1, 2]", "a.c": "null", "d.0.x": "1", "d.1.x": "2", "e": "word"}


def test_names_are_of_letters_that_mlflow_takes() -> None:
    assert metric_name("head[0].loss (%)") == "head_0_.loss ___"


def test_trials_are_told_by_their_settings_alone(write_artifact: Write, tmp_path: Path) -> None:
    def settings(name: str, source: str, **changes: Any) -> str:
        """Tag of an artifact that reads a source, whose own manifest lies beside it."""
        artifact = f"artifacts/target/{name}"
        folder = write_artifact(tmp_path / artifact, inputs={"source": f"artifacts/source/{source}"}, **changes)
        return read_view(folder, artifact).tags["settings"]

    for trial in (0, 1):
        write_artifact(tmp_path / f"artifacts/source/s.t{trial}-0000000{trial}", trial=trial)
    write_artifact(tmp_path / "artifacts/source/s.t0-00000002", settings={"source": {"epochs": 3}})
    first = settings("m.t0-0000000a", "s.t0-00000000", trial=0)
    assert first.startswith("m ")
    assert settings("m.t1-0000000b", "s.t1-00000001", trial=1) == first
    assert settings("m.t0-0000000c", "s.t0-00000002", trial=0) != first  # another source
    assert settings("m.t0-0000000d", "s.t0-00000000", settings={"k": 1}) != first
