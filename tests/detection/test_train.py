"""The training of a detector: what starts where, what moves, and what a resumed one leaves."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_stand_ins import MEAN, STD, Painted, Spot, as_split, painted, settings, source

from tessera.data.detection import DetectionDataset
from tessera.detection.augment import make_augmentation
from tessera.detection.train import train_detector
from tessera.errors import StudyError, TesseraError
from tessera.jobs import TransferKnowledge
from tessera.models.store import StoredEncoder
from tessera.models.trained import Trained
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute

CPU = Compute(torch.device("cpu"), "float32")
FINE_TUNE: dict[str, Any] = {"name": "fine_tune", "lr_factor": 1.0}


def train(
    asked: TransferKnowledge,
    given: StoredEncoder | None = None,
    resume: Path | None = None,
    trial: int = 0,
    dataset: DetectionDataset | None = None,
) -> Trained:
    return train_detector(asked, given, dataset or painted(), CPU, trial, resume)


def spot(trained: Trained) -> Spot:
    assert isinstance(trained.network, Spot)
    return trained.network


class Watch:
    """Inputs, objects and weights of every step."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.inputs: list[Tensor] = []
        self.objects: list[Any] = []
        self.weights: list[dict[str, Tensor]] = []
        losses = Spot.losses

        def spy(this: Spot, images: Tensor, objects: Any) -> dict[str, Tensor]:
            self.inputs.append(images.detach().clone())
            self.objects.append(objects)
            self.weights.append({name: tensor.clone() for name, tensor in this.state_dict().items()})
            return losses(this, images, objects)

        patch.setattr(Spot, "losses", spy)


def test_it_learns_what_is_painted() -> None:
    asked = settings(epochs=6, iterations=15, batch_size=8, augmentation="none", optimizer={"learning_rate": 0.1})
    history = train(asked).history
    assert history[-1]["loss"] < 0.75 * history[0]["loss"]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert list(history[0]) == [
        "epoch", "loss", "localization", "classification", "positives", "learning_rate", "seconds",
    ]  # fmt: skip


def test_the_loss_is_the_mean_over_positives_and_its_gradient_makes_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    plain = {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": None}
    trained = train(settings(epochs=1, iterations=1, augmentation="none", optimizer=plain))
    network = copy.deepcopy(spot(trained))
    network.load_state_dict(watch.weights[0])
    losses = network.losses(watch.inputs[0], watch.objects[0])
    positives = sum(len(of) for of in watch.objects[0])
    loss = (losses["localization"] + losses["classification"]) / positives
    loss.backward()
    row = trained.history[0]
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert row["loss"] == pytest.approx(row["localization"] + row["classification"])
    assert row["positives"] == positives / 4
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        expected = watch.weights[0][name] - 0.1 * parameter.grad
        torch.testing.assert_close(dict(trained.network.named_parameters())[name], expected)


def test_batches_without_any_object_are_no_error() -> None:
    bare = Painted(12)
    bare.marked = [of.select(torch.zeros(len(of), dtype=torch.bool)) for of in bare.marked]
    empty = DetectionDataset(("a", "b"), MEAN, STD, {"train": as_split(bare), "test": as_split(bare)})
    rows = train(settings(), dataset=empty).history
    assert all(row["positives"] == 0 and math.isfinite(row["loss"]) for row in rows)


def test_a_resumed_training_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = settings(FINE_TUNE, epochs=3, augmentation="ssd")
    given = source()
    whole = train(asked, given)
    save = Checkpoint.save

    def die(this: Checkpoint, state: Mapping[str, Any], reached: str = "") -> None:
        save(this, state, reached)
        if len(state["history"]) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", die)
        with pytest.raises(KeyboardInterrupt):
            train(asked, given, tmp_path)
    watch = Watch(monkeypatch)
    resumed = train(asked, given, tmp_path)
    assert len(watch.inputs) == 3  # the last epoch alone
    assert_same_weights(whole.network, resumed.network)
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    state = other.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def test_methods_of_a_trial_differ_in_the_encoder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = source()
    watches = []
    for transfer, encoder in (("none", None), (FINE_TUNE, given)):
        with monkeypatch.context() as patch:
            watch = Watch(patch)
            train(settings(transfer, augmentation="ssd"), encoder)
            watches.append(watch)
    none, tuned = watches
    for name, tensor in none.weights[0].items():
        begins_alike = torch.equal(tensor, tuned.weights[0][name])
        assert begins_alike == (not name.startswith("encoder.")), name
    for name, tensor in given.encoder.state_dict().items():
        assert torch.equal(tensor, tuned.weights[0][f"encoder.{name}"])
    dataset = painted()

    def pixels(inputs: Tensor, mean: Any, std: Any) -> Tensor:
        return inputs * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)

    for one, other in zip(none.inputs, tuned.inputs, strict=True):  # the same pixels, each normalised in its own way
        torch.testing.assert_close(pixels(one, *dataset.normalization), pixels(other, MEAN, STD))


def test_it_records_the_statistics_that_its_encoder_knows() -> None:
    dataset = painted()
    none, tuned = train(settings()).about, train(settings(FINE_TUNE), source()).about
    assert none.normalization == dataset.normalization
    assert tuned.normalization == (MEAN, STD)
    assert (tuned.num_classes, tuned.image_size) == (2, 32)
    assert tuned.options == settings().network


def test_the_source_is_not_changed() -> None:
    given = source(norm=True)
    before = {name: tensor.clone() for name, tensor in given.encoder.state_dict().items()}
    network = {"name": "training_stand_ins:Spot", "encoder": given.options.model_dump()}
    trained = train(settings(FINE_TUNE, network=network), given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.encoder.state_dict().items())
    moved = spot(trained).encoder.state_dict()
    assert not torch.equal(moved["norm.running_mean"], before["norm.running_mean"])  # batch norm trains as usual
    assert not trained.network.training


def test_copied_layers_learn_at_their_share_of_the_rate() -> None:
    given = source()
    moved = []
    for factor in (1.0, 0.1):
        asked = settings({"name": "fine_tune", "lr_factor": factor}, epochs=1, iterations=1)
        weights = spot(train(asked, given)).encoder.state_dict()["conv2.weight"]
        moved.append((weights - given.encoder.state_dict()["conv2.weight"]).norm().item())
    assert moved[0] / moved[1] == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "still"),
    [({"freeze_layers": 1}, {"conv1", "norm"}), ({"lr_factor": 0}, {"conv1", "norm", "conv2"})],
)
def test_frozen_layers_stay_statistics_included(options: dict[str, Any], still: set[str]) -> None:
    given = source(norm=True)
    network = {"name": "training_stand_ins:Spot", "encoder": given.options.model_dump()}
    trained = train(settings({"name": "fine_tune", **options}, network=network), given)
    state = spot(trained).encoder.state_dict()
    for name, tensor in given.encoder.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, state[name]) == (name.partition(".")[0] in still), name


def test_too_many_frozen_layers_are_refused() -> None:
    with pytest.raises(StudyError, match="freeze_layers is 9, but the encoder has 2 layers: first, second"):
        train(settings({"name": "fine_tune", "freeze_layers": 9}), source())


def test_another_encoder_than_the_sources_is_refused() -> None:
    with pytest.raises(StudyError, match=r"target.network.encoder is .* those of another encoder"):
        train(settings(FINE_TUNE), source(norm=True))


def test_every_parameter_is_trained_and_biases_do_not_decay() -> None:
    trained = train(settings())
    fresh = train(settings(epochs=1, iterations=1, optimizer={"learning_rate": 1e-20}))
    for (name, one), (_, other) in zip(
        trained.network.named_parameters(), fresh.network.named_parameters(), strict=True
    ):
        assert not torch.equal(one, other), name


def test_trials_differ_and_repeat() -> None:
    one, again, other = train(settings()), train(settings()), train(settings(), trial=1)
    assert_same_weights(one.network, again.network)
    assert not torch.equal(spot(one).head.weight, spot(other).head.weight)


def test_the_network_sees_the_augmentation_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    train(settings(augmentation="none"))
    train(settings(augmentation="ssd"))
    dataset = painted()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in dataset.normalization)
    resize = make_augmentation("none", 32, dataset.mean)
    plain = []
    for row in range(12):
        of = dataset.train.objects(row)
        plain.append((resize(dataset.train.image(row), of.boxes, of.labels).image / 255 - mean) / std)
    for images, known in ((watch.inputs[0], True), (watch.inputs[6], False)):
        for image in images:
            assert any(torch.allclose(image, one, atol=1e-5) for one in plain) == known
    assert not any(bool(of.difficult.any()) for objects in watch.objects for of in objects)


def test_a_loss_that_is_not_finite_is_told_with_what_to_do() -> None:
    asked = settings(optimizer={"learning_rate": 1e30, "clip_norm": None})
    with pytest.raises(
        TesseraError, match=r"detection: the loss is .* in epoch 1. Lower target.optimizer.learning_rate"
    ):
        train(asked)


def test_the_step_follows_the_course_of_the_learning_rate() -> None:
    rates = [row["learning_rate"] for row in train(settings(epochs=4, iterations=1)).history]
    assert rates == [0.01, 0.01, 0.001, 0.001]
