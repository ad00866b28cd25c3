from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tessera import registry
from tessera.data.columns import RawColumn
from tessera.data.store import Dataset, Split, save_dataset
from tessera.errors import DataError, StudyError, TesseraError
from tessera.models.encoders.options import ResNet8Options
from tessera.models.networks.classifier import EncoderClassifier
from tessera.models.networks.options import ClassifierOptions
from tessera.training.compute import Compute
from tessera.transfer import train as trainer
from tessera.transfer.job import train
from tessera.transfer.method import TransferMethod
from tessera.transfer.none import NoTransfer
from tessera.transfer.seen import see
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network


def watch(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]]:
    """Every batch that `none` sees: pixels, labels, and the network's weights before the step."""
    seen: list[tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]] = []
    loss = NoTransfer.loss

    def spy(self: Any, batch: Any, network: Any) -> Any:
        seen.append((batch.views.pixels, batch.labels, {k: v.clone() for k, v in network.state_dict().items()}))
        return loss(self, batch, network)

    monkeypatch.setattr(NoTransfer, "loss", spy)
    return seen


def test_only_labelled_images_of_the_fraction_are_seen(
    settings: Any, dataset: Dataset, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch(monkeypatch)
    asked = settings("none", label_fraction=0.2, augmentation="none", iterations=6)
    train_network(asked, None, dataset, compute, trial=0, resume=None)
    pixels = torch.cat([batch[0] for batch in seen])
    distinct = torch.unique(pixels.flatten(1), dim=0)
    assert len(distinct) == 12  # a fifth of 60, four of each class
    train = dataset.train.images[:].float().flatten(1) / 255
    assert all((train == image).all(dim=1).any() for image in distinct)


def test_the_network_learns_the_label_column_that_is_named(
    settings: Any, dataset: Dataset, compute: Compute, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = torch.cat([dataset.train.images[:], dataset.test.images[:]]).permute(0, 2, 3, 1).numpy()
    labels, side = np.arange(72) % 3, np.arange(72) // 3 % 2
    splits, columns = {"train": np.arange(60), "test": np.arange(60, 72)}, {"side": RawColumn(side, ["x", "y"])}
    save_dataset(tmp_path, images, labels, splits, ["a", "b", "c"], columns)
    seen = watch(monkeypatch)
    asked = settings("none", label_fraction=0.1, augmentation="none", iterations=6, labels="side")
    trained = train(asked, {"dataset": tmp_path}, compute, 0, None)
    assert trained.about.num_classes == 2
    met = {(pixels.numpy().tobytes(), int(label)) for batch in seen for pixels, label in zip(*batch[:2], strict=True)}
    known = {(torch.from_numpy(image).permute(2, 0, 1).div(255).contiguous().numpy().tobytes(), int(label))
             for image, label in zip(images, side, strict=True)}  # fmt: skip
    assert met <= known
    assert sorted(label for _, label in met) == [0, 0, 0, 1, 1, 1]  # a tenth of each of its classes


def test_augmentation_changes_the_pixels_and_keeps_the_labels(
    settings: Any, dataset: Dataset, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch(monkeypatch)
    for augmentation in ("none", "crop_flip"):
        train_network(settings("none", augmentation=augmentation), None, dataset, compute, trial=0, resume=None)
    plain, augmented = seen[:4], seen[4:]
    assert all(torch.equal(a[1], b[1]) for a, b in zip(plain, augmented, strict=True))
    assert not torch.equal(plain[0][0], augmented[0][0])


METHODS: dict[str, str | dict[str, Any]] = {
    "none": "none",
    "probe": {"name": "soft_targets", "teacher": "probe"},
    "clusters": {"name": "soft_targets", "teacher": "clusters"},
    "fsp": "fsp",
    "fine_tune": "fine_tune",
}


class Witness:
    """What one training's network was before its first step, and what it sees in the stage with labels."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}
        self.inputs: list[torch.Tensor] = []
        self.pixels: list[torch.Tensor] = []
        self.labels: list[torch.Tensor] = []
        self.index: list[torch.Tensor] = []

    def attend(self, method: type[TransferMethod], patch: pytest.MonkeyPatch) -> None:
        first_stage_loss = method.first_stage_loss

        def first(this: Any, views: Any, network: Any) -> Any:
            self.look(network)
            return first_stage_loss(this, views, network)

        def second(views: Any, labels: Any, index: Any, network: Any, *rest: Any) -> Any:
            self.look(network)
            self.pixels.append(views.pixels.clone())
            self.labels.append(labels.clone())
            self.index.append(index.clone())
            entrance = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
            with entrance.register_forward_pre_hook(lambda _, given: self.inputs.append(given[0].clone())):
                return see(views, labels, index, network, *rest)

        patch.setattr(method, "first_stage_loss", first)
        patch.setattr(trainer, "see", second)

    def look(self, network: nn.Module) -> None:
        self.weights = self.weights or {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_methods_of_a_trial_start_from_the_same_weights_and_see_the_same_batches(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name, transfer in METHODS.items():
        network = {"network": None} if name == "fine_tune" else {}
        asked = settings(transfer, label_fraction=0.5, **network)
        witness = found[name] = Witness()
        with monkeypatch.context() as patch:
            witness.attend(registry.load("transfer", asked.transfer.name), patch)
            source = teacher if asked.transfer.needs_source else None
            train_network(asked, source, dataset, compute, trial=4, resume=None)
    one = found["none"]
    for name, other in found.items():
        for seen in ("inputs", "pixels", "labels", "index"):
            batches = list(zip(getattr(one, seen), getattr(other, seen), strict=True))
            assert len(batches) == 4, (name, seen)
            assert all(torch.equal(a, b) for a, b in batches), (name, seen)
        if name != "fine_tune":  # its network is the source encoder
            assert one.weights.keys() == other.weights.keys()
            assert all(torch.equal(tensor, other.weights[key]) for key, tensor in one.weights.items()), name
    assert all(torch.equal(dataset.train.labels[i], y) for i, y in zip(one.index, one.labels, strict=True))
    assert not torch.equal(one.pixels[0], one.pixels[2])  # every epoch has its own


def test_iterations_batch_size_and_learning_rate_are_those_asked(
    settings: Any, dataset: Dataset, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch(monkeypatch)
    asked = settings("none", epochs=4, iterations=2, batch_size=5, optimizer={"learning_rate": 0.1})
    trained = train_network(asked, None, dataset, compute, trial=0, resume=None)
    assert [len(batch[0]) for batch in seen] == [5] * 8
    assert [row["learning_rate"] for row in trained.history] == [0.1, 0.1, 0.01, 0.001]


def test_the_student_reads_the_target_normalised_by_its_own_statistics(
    settings: Any, dataset: Dataset, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = []
    loss = NoTransfer.loss

    def spy(self: Any, batch: Any, network: Any) -> Any:
        inputs.append((batch.views.pixels, batch.views.inputs))
        return loss(self, batch, network)

    monkeypatch.setattr(NoTransfer, "loss", spy)
    train_network(settings("none"), None, dataset, compute, trial=0, resume=None)
    torch.testing.assert_close(inputs[0][1], (inputs[0][0] - 0.5) / 0.25)


def test_fine_tuning_at_rate_zero_keeps_the_encoder(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    asked = settings({"name": "fine_tune", "lr_factor": 0.0}, network=None)
    trained = train_network(asked, teacher, dataset, compute, trial=0, resume=None)
    assert isinstance(trained.network, EncoderClassifier)
    state = trained.network.encoder.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in teacher.encoder.state_dict().items())
    assert trained.about.options == ClassifierOptions(encoder=ResNet8Options())


def test_fine_tuning_moves_copied_layers_at_their_share_of_the_rate(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    moved = []
    for factor in (0.5, 0.1):
        asked = settings({"name": "fine_tune", "lr_factor": factor}, network=None, epochs=1, iterations=1)
        trained = train_network(asked, teacher, dataset, compute, trial=0, resume=None)
        weights = trained.network.state_dict()["encoder.layer3.0.conv2.weight"]
        moved.append((weights - teacher.encoder.state_dict()["layer3.0.conv2.weight"]).norm().item())
    assert moved[0] / moved[1] == pytest.approx(5.0, rel=1e-2)


def test_a_loss_that_is_not_finite_is_told_with_what_to_do(settings: Any, dataset: Dataset, compute: Compute) -> None:
    asked = settings(
        "none",
        optimizer={"learning_rate": 1e30, "clip_norm": None},
        network={"name": "reduced_alexnet", "width": "quarter", "hidden": 16, "batch_norm": False},
    )
    with pytest.raises(TesseraError, match=r"epoch 1 of the second stage. Lower target.optimizer.learning_rate \(now"):
        train_network(asked, None, dataset, compute, trial=0, resume=None)


def test_advice_names_nothing_that_is_absent(settings: Any, dataset: Dataset, compute: Compute) -> None:
    for clip_norm, words in ((None, "or set target.optimizer.clip_norm (now null)"), (1e29, "clip_norm (now 1e+29)")):
        asked = settings("none", iterations=9, optimizer={"learning_rate": 1e30, "clip_norm": clip_norm})
        with pytest.raises(TesseraError) as caught:
            train_network(asked, None, dataset, compute, trial=0, resume=None)
        assert words in str(caught.value)


def test_a_target_without_labels_is_refused(settings: Any, dataset: Dataset, compute: Compute) -> None:
    bare = Split(dataset.train.images, torch.full_like(dataset.train.labels, -1))
    altered = Dataset(dataset.classes, 16, *dataset.normalization, {"train": bare, "test": dataset.test})
    with pytest.raises(DataError, match="have no labels"):
        train_network(settings("none"), None, altered, compute, trial=0, resume=None)


def test_too_many_frozen_layers_are_refused(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    asked = settings({"name": "fine_tune", "freeze_layers": 9}, network=None)
    with pytest.raises(StudyError, match="freeze_layers is 9, but the encoder has 4 layers"):
        train_network(asked, teacher, dataset, compute, trial=0, resume=None)
