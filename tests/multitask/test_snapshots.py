"""Snapshots of a training: what a shorter one would hand on, without a trace in what the longer one does."""

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import multitask_stand_ins as stand_ins
import pytest
import torch
from multitask_stand_ins import BRIGHTNESS, LABELLED, SHARED, TURN, tiny_dataset, tiny_source, two_labels
from safetensors.torch import load_file
from test_pretrain import METHODS, same, timeless
from torch import Tensor

from tessera.data.store import Dataset
from tessera.models.store import load_classifier, load_encoder
from tessera.multitask.epochs import Pretrained
from tessera.multitask.pretrain import pretrain
from tessera.multitask.snapshots import SnapshotOptions, handed_on, views_at
from tessera.multitask.store import load_tasks, save_trained
from tessera.states import CARRIED
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")
DATASET = tiny_dataset()
PATCHES = {"sharing": "model_patch", "schedule": "round_robin"}
CONSTANT = {"schedule": "constant", "learning_rate": 0.05}
MORE: dict[str, dict[str, Any]] = {
    "model_patch": PATCHES,
    "cross_stitch": {"sharing": "cross_stitch"},
    "labels": {"tasks": LABELLED, "schedule": SHARED},
}
CHOSEN = ["swa", "tte", "msvl", "uncertainty_adam", "running_mean", "sam", "joint_auto_lambda", *MORE]


def run(resume: Path | None, dataset: Dataset = DATASET, **settings: Any) -> Pretrained:
    return pretrain(tiny_source(**settings), dataset, {}, COMPUTE, 0, resume)


def of(method: str) -> dict[str, Any]:
    return {**METHODS, **MORE}[method]


def of_method(method: str) -> Dataset:
    return two_labels() if method == "labels" else DATASET


def handed_over(result: Pretrained, folder: Path) -> Path:
    """An artifact's folder, as far as snapshots are concerned."""
    folder.mkdir()
    assert result.snapshots is not None
    result.snapshots.hand_over(folder, result.views)
    return folder


@pytest.mark.parametrize("method", CHOSEN)
def test_one_is_what_a_training_of_so_many_epochs_hands_on_and_leaves_no_trace(method: str, tmp_path: Path) -> None:
    """At a constant learning rate: any other course depends on where it ends."""
    settings = of(method) | {"optimizer": CONSTANT | of(method).get("optimizer", {})}
    dataset, shorter = of_method(method), tmp_path / "shorter"
    shorter.mkdir()
    whole = run(tmp_path / "state", dataset, **settings, snapshots={"every": 1})
    short = run(None, dataset, **settings, epochs=2)
    save_trained(tiny_source(**settings), dataset, short.encoder, short.heads, short.sharing, shorter)
    snapshot = handed_on(handed_over(whole, tmp_path / "artifact"), 2)
    ours, theirs = (load_file(folder / "encoder.safetensors") for folder in (snapshot, shorter))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not same(whole.encoder, load_encoder(snapshot, COMPUTE.device).encoder)  # it went on
    without = run(None, dataset, **settings)
    assert same(without.encoder, whole.encoder)
    assert same(without.heads, whole.heads)
    assert same(without.sharing, whole.sharing)
    assert timeless(without.history) == timeless(whole.history)


def test_tasks_with_labels_can_be_asked_of_one(tmp_path: Path) -> None:
    settings = of("labels") | {"optimizer": CONSTANT}
    whole = run(tmp_path / "state", two_labels(), **settings, snapshots=[2])
    short = run(None, two_labels(), **settings, epochs=2)
    snapshot = handed_on(handed_over(whole, tmp_path / "artifact"), 2)
    stored, classifier = load_tasks(snapshot, COMPUTE.device), load_classifier(snapshot, COMPUTE.device)
    assert list(stored.tasks) == ["classification", "classification.shade"]
    assert classifier is not None
    images = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        z = short.encoder(images)
        expected = {name: head(z) for name, head in short.heads.items()}
        answered = stored.network(images)
    assert [answered[name].tolist() for name in stored.tasks] == [value.tolist() for value in expected.values()]
    assert classifier.head(z).tolist() == next(iter(expected.values())).tolist()


@pytest.mark.parametrize(("method", "call"), [("joint", 13), ("tte", 10)])  # in the third epoch, in the second
def test_a_training_that_was_killed_leaves_the_same_ones(
    method: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(resume: Path, into: Path) -> dict[str, bytes]:
        folder = handed_over(run(resume, **of(method), snapshots=[1, 2]), into)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}

    whole = taken(tmp_path / "whole", tmp_path / "one")
    original, calls = stand_ins.Brightness.make_batch, 0

    def fails(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stand_ins.Brightness, "make_batch", fails)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", **of(method), snapshots=[1, 2])
    assert taken(tmp_path / "killed", tmp_path / "two") == whole
    names = {f"snapshots/epoch_{epoch}/encoder.safetensors" for epoch in (1, 2)}
    assert {name for name in whole if name.endswith("encoder.safetensors")} == names


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_without_its_snapshots_a_state_is_set_aside_in_words(
    harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(tmp_path, snapshots=[1])
    file = handed_on(tmp_path / CARRIED, 1) / "encoder.safetensors"
    sound = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    again = run(tmp_path, snapshots=[1])
    assert "the snapshot of epoch 1 is gone or damaged" in caplog.text
    assert same(whole.encoder, again.encoder)
    assert file.read_bytes() == sound


def test_a_snapshot_whose_state_was_not_saved_is_taken_again(tmp_path: Path) -> None:
    left = handed_on(tmp_path / CARRIED, 1)
    left.mkdir(parents=True)
    (left / "encoder.safetensors").write_bytes(b"of an epoch that is to be trained again")
    run(tmp_path, snapshots=[1])
    load_encoder(left, COMPUTE.device)


def test_a_state_of_an_older_version_is_gone_on_from(tmp_path: Path) -> None:
    """It counts no views, and is that of a training without snapshots."""
    from tessera.training.checkpoint import Checkpoint

    whole = run(tmp_path)
    state = Checkpoint(tmp_path).load()
    assert state is not None
    del state["views"], state["snapshots"]
    Checkpoint(tmp_path).save(state)
    assert same(run(tmp_path).encoder, whole.encoder)
    assert not (tmp_path / "state.damaged").exists()


class Tiles(stand_ins.Brightness):
    """Shows four parts of every image."""

    Options = stand_ins._options("til")

    def make_batch(self, images: Tensor, *others: Any) -> Any:
        batch = super().make_batch(images, *others)
        return batch._replace(inputs=batch.inputs.repeat(4, 1, 1, 1))

    def loss(self, prediction: Any, labels: Any) -> Tensor:
        return super().loss(prediction[: len(labels)], labels)


@pytest.mark.parametrize(
    ("settings", "views"),
    [
        ({}, 6 * 8),  # 6 batches of 8 in an epoch, three of each task
        ({"tasks": [TURN, f"{__name__}:Tiles"]}, 3 * 8 + 3 * 4 * 8),
        ({"tasks": LABELLED, "schedule": SHARED}, 6 * 8),  # both answer for the same views
        ({"regularizer": "sam"}, 6 * 8),  # looked at twice
        ({"balancing": "auto_lambda"}, 6 * 8),  # other batches decide on the weights
        ({"schedule": "branches", "fusion": "tte"}, 6 * 8),
    ],
)
def test_image_views_are_those_that_the_encoder_was_trained_on(
    settings: dict[str, Any], views: int, tmp_path: Path
) -> None:
    result = run(
        tmp_path / "state", two_labels() if settings.get("tasks") is LABELLED else DATASET, **settings, snapshots=[1, 2]
    )
    assert list(result.views) == [views] * 3
    folder = handed_over(result, tmp_path / "artifact")
    assert [views_at(folder, epoch) for epoch in (1, 2, 3)] == list(accumulate([views] * 3))
    assert result.metrics["image_views"] == 3 * views
    assert views_at(folder, 4) is None


def test_the_index_says_no_more_than_there_is(tmp_path: Path) -> None:
    folder = handed_over(run(tmp_path / "state", snapshots=[2]), tmp_path / "artifact")
    told = json.loads((folder / "snapshots" / "index.json").read_text())
    assert told == {"image_views": {"2": 96, "3": 144}}
    assert handed_on(folder, None) == folder


def test_a_training_that_takes_none_leaves_none(tmp_path: Path) -> None:
    result = run(tmp_path / "state")
    assert list(handed_over(result, tmp_path / "artifact").iterdir()) == []
    assert "image_views" not in result.metrics
    with pytest.raises(ValueError, match="snapshots need a folder"):
        run(None, snapshots=[1], tasks=[BRIGHTNESS])


@pytest.mark.parametrize(
    ("options", "end", "epochs"),
    [
        ({"every": 2}, 7, (2, 4, 6)),
        ({"every": 2}, 6, (2, 4)),
        ({"every": 6}, 6, ()),
        ({"epochs": [1, 5, 6]}, 6, (1, 5)),
        ({"epochs": [6]}, 6, ()),
    ],
)
def test_the_last_epoch_needs_no_snapshot(options: dict[str, Any], end: int, epochs: tuple[int, ...]) -> None:
    assert SnapshotOptions.model_validate(options).before(end) == epochs
