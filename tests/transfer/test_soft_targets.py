import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances
from torch import Tensor
from torch.testing import assert_close

from tessera.data.store import Dataset, Split
from tessera.data.views import flip_and_crop
from tessera.errors import DataError, StudyError
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.options.soft import SoftTargetsOptions
from tessera.transfer.soft_targets.clusters import Clusters
from tessera.transfer.soft_targets.knowledge import features_of
from tessera.transfer.soft_targets.method import SoftTargets, soft_cross_entropy
from tessera.transfer.soft_targets.probe import Probe, split_held_out
from tessera.transfer.teacher import Teacher
from transfer_losses import loss_of


def by_hand(student: Tensor, teacher: Tensor, temperature: float) -> tuple[float, list[list[float]]]:
    """Value and gradient, number by number: the gradient of a row is (q - p) / (T N)."""

    def softened(row: list[float]) -> list[float]:
        powers = [math.exp(value / temperature) for value in row]
        return [power / sum(powers) for power in powers]

    total, gradient = 0.0, []
    for student_row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = softened(student_row), softened(teacher_row)
        total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
        gradient.append([(b - a) / temperature / len(student) for a, b in zip(p, q, strict=True)])
    return total / len(student), gradient


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_soft_cross_entropy_matches_the_formula(temperature: float) -> None:
    student, teacher = torch.randn(5, 3).double().requires_grad_(), torch.randn(5, 3).double()
    loss = soft_cross_entropy(student, teacher, temperature)
    (gradient,) = torch.autograd.grad(loss, student)
    value, expected = by_hand(student, teacher, temperature)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    assert_close(gradient, torch.tensor(expected, dtype=torch.float64))


def test_squared_temperature_keeps_the_size_of_the_gradient() -> None:
    teacher = torch.randn(64, 10)

    def size(temperature: float) -> float:
        student = torch.randn(64, 10, generator=torch.Generator().manual_seed(1)).requires_grad_()
        (temperature**2 * soft_cross_entropy(student, teacher, temperature)).backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        return float(student.grad.norm())

    assert size(40.0) == pytest.approx(size(10.0), rel=0.05)  # to first order (z - v) / (N K), whatever T is


def quick(**changes: object) -> SoftTargetsOptions:
    return SoftTargetsOptions.model_validate({"probe_epochs": 3, "probe_hidden": (16,), "clusters": 5, **changes})


def total(
    options: SoftTargetsOptions, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> tuple[SoftTargets, Tensor, Views, Tensor]:
    torch.manual_seed(2)
    method = SoftTargets(options)
    method.fit_teacher(network, teacher, images, compute, trial=0)
    pixels, labels = images.dataset.test.images[:].float() / 255, images.dataset.test.labels
    views = Views(pixels, images.normalize(pixels))
    loss, _ = loss_of(method, views, labels, network.eval(), teacher)
    return method, loss, views, labels


@pytest.mark.parametrize("knowledge", ["probe", "clusters"])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_terms_are_weighed_as_the_options_say(
    knowledge: str, scaled: bool, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    options = quick(teacher=knowledge, temperature=3.0, weight=0.4, scale_by_temperature=scaled)
    method, loss, views, labels = total(options, network, teacher, images, compute)
    logits = network(views.inputs)
    hard = -logits.log_softmax(1)[range(len(labels)), labels].mean()
    answer = logits if knowledge == "probe" else method.knowledge.answer(network.layers(views.inputs)["conv5"], logits)
    soft, _ = by_hand(answer, method.knowledge.logits(teacher.features(views.pixels)), 3.0)
    assert loss.item() == pytest.approx(0.6 * hard.item() + 0.4 * (9 if scaled else 1) * soft, rel=1e-5)


def test_clusters_are_the_soft_assignment_to_k_means(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    knowledge = Clusters(quick(clusters=4))
    knowledge.fit(network, teacher, images, compute, trial=0)
    features = features_of(teacher, images.dataset.train.images, compute).double().numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    squares = pairwise_distances(features, knowledge.centers.double().numpy()) ** 2
    nearest = squares.argmin(axis=1)
    for cluster in range(4):  # a fixed point of Lloyd's iteration: each centre is the mean of its images
        np.testing.assert_allclose(knowledge.centers[cluster], features[nearest == cluster].mean(axis=0), atol=1e-5)
    spread = squares.min(axis=1).mean()
    powers = np.exp(-squares / spread)
    expected = powers / powers.sum(axis=1, keepdims=True)
    # The loss divides by the temperature, so this is the distribution that the student is taught.
    logits = knowledge.logits(features_of(teacher, images.dataset.train.images, compute))
    found = (logits / knowledge.options.temperature).softmax(1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_cluster_head_is_trained_and_the_probe_is_not(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    for name, trained in (("probe", False), ("clusters", True)):
        method, loss, _, _ = total(quick(teacher=name), network, teacher, images, compute)
        loss.backward()  # type: ignore[no-untyped-call]
        assert any(p.requires_grad and p.grad is not None for p in method.parameters()) is trained


def test_more_clusters_than_images_are_refused(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    with pytest.raises(StudyError, match=r"`clusters` is 61, but the target has 60 training images"):
        Clusters(quick(clusters=61)).fit(network, teacher, images, compute, trial=0)


def test_the_probe_reads_no_held_out_image_and_keeps_its_best_pass(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    options = quick(probe_epochs=12, probe_dropout=0.0, probe_holdout=0.2)
    figures = []
    for epochs in range(1, 13):
        torch.manual_seed(0)
        probe = Probe(options.model_copy(update={"probe_epochs": epochs}))
        figures.append(probe.fit(network, teacher, images, compute, trial=0)["probe_cross_entropy"])
    assert figures == sorted(figures, reverse=True)
    assert figures[-1] < figures[0] < 1.6


def test_the_probe_learns_what_the_features_hold(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    probe = Probe(quick(probe_epochs=40, probe_hidden=(32,), probe_dropout=0.0, probe_holdout=0.2))
    assert probe.fit(network, teacher, images, compute, trial=0)["probe_accuracy"] > 80  # chance: 33
    test = images.dataset.test
    answers = probe.logits(features_of(teacher, test.images, compute)).argmax(1)
    assert (answers == test.labels).float().mean() > 0.7


def test_labels_that_may_not_be_read_are_not(
    network: ReducedAlexNet, teacher: Teacher, dataset: Dataset, compute: Compute
) -> None:
    found = []
    for secret in (0, 1):
        torch.manual_seed(0)
        train = Split(dataset.train.images, dataset.train.labels.clone())
        train.labels[1::2] = secret
        altered = Dataset(dataset.classes, 16, *dataset.normalization, {"train": train, "test": dataset.test})
        images = TargetImages(
            altered, torch.arange(0, len(train), 2), partial(flip_and_crop, padding=2), lambda pixels: pixels
        )
        found.append(Probe(quick()).fit(network, teacher, images, compute, trial=0))
    assert found[0] == found[1]


def test_options_of_the_probe_are_honoured(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    probe = Probe(quick(probe_hidden=(7, 6), probe_dropout=0.25))
    probe.fit(network, teacher, images, compute, trial=0)
    layers = list(probe.network)
    assert [m.out_features for m in layers if isinstance(m, torch.nn.Linear)] == [7, 6, 3]
    assert [m.p for m in layers if isinstance(m, torch.nn.Dropout)] == [0.25, 0.25]


def test_held_out_images_are_balanced_and_leave_every_class() -> None:
    labels = torch.tensor([0] * 20 + [1] * 10 + [2] * 2 + [3])
    held, kept = split_held_out(labels, 0.1, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[held], minlength=4).tolist() == [2, 1, 1, 0]
    assert torch.bincount(labels[kept], minlength=4).tolist() == [18, 9, 1, 1]
    assert sorted([*held.tolist(), *kept.tolist()]) == list(range(len(labels)))


def test_one_image_a_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"raise target\.label_fraction"):
        split_held_out(torch.arange(3), 0.1, torch.Generator())
