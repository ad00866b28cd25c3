"""Learning without forgetting, and knowledge distillation from the source's own classifier."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tessera.data.store import Dataset
from tessera.errors import StudyError
from tessera.models.store import StoredClassifier
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.lwf import LearningWithoutForgetting
from tessera.transfer.options.soft import LearningWithoutForgettingOptions, SoftTargetsOptions
from tessera.transfer.soft_targets.method import SoftTargets
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network
from transfer_losses import loss_of


def views_of(images: TargetImages) -> tuple[Views, torch.Tensor]:
    pixels = images.dataset.test.images[:].float() / 255
    return Views(pixels, images.normalize(pixels)), images.dataset.test.labels


@pytest.mark.parametrize(("temperature", "weight"), [(2.0, 1.0), (3.0, 0.25)])
def test_old_answers_are_kept_beside_the_labels(
    temperature: float, weight: float, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = LearningWithoutForgetting(LearningWithoutForgettingOptions(temperature=temperature, weight=weight))
    network = method.build_network(None, teacher, 3)
    method.fit_teacher(network, teacher, images, compute, trial=0)
    views, labels = views_of(images)
    loss, logits = loss_of(method, views, labels, network.eval(), teacher)
    assert teacher.classifier is not None
    head = teacher.classifier.head
    old = head(teacher.encoder(teacher.normalize(views.pixels)))
    now = head(teacher.encoder(views.inputs))  # the copy, before its first step
    # KL divergence and the entropy that no gradient reaches make the cross-entropy.
    p = (old / temperature).softmax(1)
    divergence = F.kl_div((now / temperature).log_softmax(1), p, reduction="batchmean")
    entropy = -(p * p.log()).sum(1).mean()
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels) + weight * (divergence + entropy))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in [*network.parameters(), *method.head.parameters()])
    assert all(p.grad is None for p in [*teacher.encoder.parameters(), *head.parameters(), *method.old.parameters()])
    assert [modules for modules, _ in method.parameter_groups(network)][-1][-1] is method


def test_knowledge_distillation_is_the_kl_divergence_from_the_sources_classifier(
    teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = SoftTargets(SoftTargetsOptions(teacher="source", temperature=4.0, weight=0.9))
    network = LearningWithoutForgetting(LearningWithoutForgettingOptions()).build_network(None, teacher, 3).eval()
    assert method.fit_teacher(network, teacher, images, compute, trial=0) == {}
    views, labels = views_of(images)
    loss, logits = loss_of(method, views, labels, network, teacher)
    mine = torch.autograd.grad(loss, network.head.weight)[0]
    logits = network(views.inputs)
    assert teacher.classifier is not None
    answers = teacher.classifier.head(teacher.encoder(teacher.normalize(views.pixels)))
    divergence = torch.nn.KLDivLoss(reduction="batchmean")(
        (logits / 4).log_softmax(1), (answers / 4).softmax(1).detach()
    )
    theirs = torch.autograd.grad(0.1 * F.cross_entropy(logits, labels) + 0.9 * 16 * divergence, network.head.weight)[0]
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def other(teacher: Teacher, classes: tuple[str, ...] | None) -> Teacher:
    classifier = None
    if classes is not None:
        assert isinstance(teacher.classifier, StoredClassifier)
        classifier = dataclasses.replace(teacher.classifier, classes=classes)
    return Teacher(teacher.encoder, teacher.options, teacher.normalization, classifier)


@pytest.mark.parametrize(
    ("name", "classes", "told"),
    [
        ("soft_targets", ("a", "b"), "the source tells 2 classes apart, but the target has 3"),
        ("soft_targets", ("a", "x", "c"), "class 1 is `x` in the source, but `b` in the target"),
        ("soft_targets", None, "reads the source's own classifier, but the source learned no labels"),
        ("lwf", None, "reads the source's own classifier, but the source learned no labels"),
    ],
)
def test_a_teacher_without_the_classes_is_refused(
    name: str, classes: tuple[str, ...] | None, told: str, settings: object, dataset: Dataset, teacher: Teacher,
    compute: Compute,
) -> None:  # fmt: skip
    assert callable(settings)
    asked = settings({"name": name, **({"teacher": "source"} if name == "soft_targets" else {"network": None})})
    with pytest.raises(StudyError, match=f"transfer `{name}`.*{told}"):
        train_network(asked, other(teacher, classes), dataset, compute, trial=0, resume=None)


def test_other_classes_are_what_lwf_is_for(
    settings: object, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    assert callable(settings)
    trained = train_network(settings({"name": "lwf", "network": None}), other(teacher, ("p", "q", "r")), dataset,
                            compute, trial=0, resume=None)  # fmt: skip
    assert trained.history[-1]["loss"] > 0
