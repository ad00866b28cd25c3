"""Pictures of training: what they read, what they draw, and what they leave out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tessera.errors import ArtifactError
from tessera.figures import Figure
from tessera.jobs import Cell, SummarizeStudy
from tessera.report.pictures.training import Series, draw_pretraining, draw_transfer, read_history

Write = Callable[..., str]
TASK = "my.package:Task"
SOURCE = (
    f"epoch,order,{TASK}.loss,{TASK}.validation_loss,{TASK}.chance_loss,{TASK}.validation_accuracy,"
    f"{TASK}.chance_accuracy,alpha.{TASK},beta\n1,x,3,2.5,4,0.1,0.01,1,0\n2,x,2,1.5,4,0.2,0.01,1,0.5\n"
)
TRANSFER = "stage,epoch,loss,train_accuracy\nfirst,1,0.5,\nfirst,2,0.25,\nsecond,1,2,30\nsecond,2,nan,40\n"


def study_of(write: Write, source: str | None, transfer: str | None) -> SummarizeStudy:
    """A row of two trials, each with a pretraining and a transfer."""
    measured = []
    for trial in (0, 1):
        made = write(f"artifacts/source/s.t{trial}-0000000{trial}", history=source)
        network = write(f"artifacts/transfer/n.t{trial}-0000000{trial}", history=transfer, inputs={"source": made})
        measured.append(write(f"artifacts/target/m.t{trial}-0000000{trial}", {"a": 1.0}, inputs={"network": network}))
    cell = Cell(row="a row", column="", protocol="knn", figure=Figure(name="a"), artifacts=tuple(measured))
    return SummarizeStudy(
        name="toy", title="", description="", scale="smoke", trials=2, rows=("a row",), columns=("",), cells=(cell,),
        artifacts=tuple(measured),
    )  # fmt: skip


def test_history_is_read_by_figure_stage_and_epoch(write: Write, tmp_path: Path) -> None:
    folder = write("artifacts/transfer/n-00000000", history=TRANSFER)
    assert read_history(tmp_path / folder) == {
        "first.loss": {1: 0.5, 2: 0.25},
        "loss": {1: 2.0},  # what is not finite is not drawn
        "train_accuracy": {1: 30.0, 2: 40.0},
    }
    assert read_history(tmp_path / "none") == {}


def test_a_damaged_history_is_named(write: Write, tmp_path: Path) -> None:
    folder = write("artifacts/transfer/n-00000000", history="epoch,loss\nsoon,1\n")
    with pytest.raises(ArtifactError, match=r"n-00000000/history\.csv: cannot be read"):
        read_history(tmp_path / folder)


def test_the_mean_is_of_the_epochs_that_all_trials_have() -> None:
    series = Series("", ("black", "-"), ({1: 2.0, 2: 4.0, 3: 9.0}, {1: 4.0, 2: 8.0}))
    assert series.mean() == {1: 3.0, 2: 6.0}


def test_losses_chance_and_weights_are_drawn_for_what_was_recorded(write: Write, tmp_path: Path) -> None:
    study = study_of(write, SOURCE, TRANSFER)
    folder = tmp_path / "figures"
    files = [picture.file for picture in draw_pretraining(study, tmp_path, folder)]
    assert files == ["pretraining_losses.png", "pretraining_chance.png", "pretraining_alpha.png"]  # no regularizer
    texts = {name: (folder / name).with_suffix(".svg").read_text() for name in files}
    assert all(">a row<" in text and ">epoch<" in text for text in texts.values())
    assert ">guessing<" in texts["pretraining_losses.png"]
    assert ">held-out images<" in texts["pretraining_losses.png"]
    assert ">β<" in texts["pretraining_alpha.png"]
    (picture,) = draw_transfer(study, tmp_path, folder)
    text = (folder / picture.file).with_suffix(".svg").read_text()
    assert text.index(">first stage, loss<") < text.index(">loss<")


def test_weights_are_drawn_of_tasks_whose_names_have_dots(write: Write, tmp_path: Path, words_within: None) -> None:
    tasks = ("classification.digit", "classification.zoom", "rotation")
    names = [f"{task}.loss,weight.{task}" for task in tasks]
    history = f"epoch,{','.join(names)}\n1,3,1,2,1,2,1\n2,2,0.5,1,2,1,0.5\n"
    study = study_of(write, history, None)
    files = [picture.file for picture in draw_pretraining(study, tmp_path, tmp_path / "figures")]
    assert files == ["pretraining_losses.png", "pretraining_weights.png"]
    losses, weights = ((tmp_path / "figures" / name).with_suffix(".svg").read_text() for name in files)
    assert ">weight<" in weights
    for task in tasks:
        assert f">{task}<" in weights
        assert f"{task.rpartition('.')[2]} loss<" in losses


def test_what_a_regularizer_adds_and_what_it_may_shrink_are_drawn(write: Write, tmp_path: Path) -> None:
    history = "epoch,a.loss,a.regularizer,a.feature_norm,b.loss,b.regularizer\n1,3,0.5,60,1,-0.1\n2,2,0.4,20,1,-0.2\n"
    pictures = draw_pretraining(study_of(write, history, None), tmp_path, tmp_path / "figures")
    assert [picture.file for picture in pictures] == [
        "pretraining_losses.png", "pretraining_regularizer.png", "pretraining_features.png",
    ]  # fmt: skip
    regularizer, features = (
        (tmp_path / "figures" / each.file).with_suffix(".svg").read_text() for each in pictures[1:]
    )
    assert ">a<" in regularizer
    assert ">b<" in regularizer
    assert ">b<" not in features  # of which no norm was recorded


@pytest.mark.parametrize("task", ["colorization", "rotation"])
def test_an_accuracy_below_guessing_is_explained_where_it_may_be(write: Write, tmp_path: Path, task: str) -> None:
    study = study_of(write, SOURCE.replace(TASK, task), None)
    captions = {picture.file: picture.caption for picture in draw_pretraining(study, tmp_path, tmp_path / "figures")}
    assert ("weighs rare colours more" in captions.pop("pretraining_chance.png")) == (task == "colorization")
    assert "rare" not in "".join(captions.values())


def test_nothing_is_drawn_without_a_history(write: Write, tmp_path: Path) -> None:
    study = study_of(write, None, None)
    assert draw_pretraining(study, tmp_path, tmp_path / "figures") == []
    assert draw_transfer(study, tmp_path, tmp_path / "figures") == []
    assert not (tmp_path / "figures").exists()


def test_names_and_legend_lie_within_the_pictures(write: Write, tmp_path: Path, words_within: None) -> None:
    study = study_of(write, SOURCE.replace(TASK, "my_laboratory.pretext.tasks:OrderOfTiles"), TRANSFER)
    row = "soft targets from TTE, weighed by impact, one epoch a turn"
    cells = tuple(cell.model_copy(update={"row": row}) for cell in study.cells)
    named = study.model_copy(update={"rows": (row,), "cells": cells})
    assert len(draw_pretraining(named, tmp_path, tmp_path / "figures")) == 3
    assert draw_transfer(named, tmp_path, tmp_path / "figures")
