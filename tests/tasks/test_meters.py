"""Meters against torchmetrics and scikit-learn, and over several batches."""

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

from tessera.tasks.meters.classes import ClassMeter

CPU = torch.device("cpu")


def drawn(classes: int, number: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(-1, classes, (number,), generator=generator)
    return torch.randn(number, classes, generator=generator) + F.one_hot(labels.clamp_min(0), classes), labels


def meter(classes: int) -> ClassMeter:
    return ClassMeter([str(number) for number in range(classes)], CPU)


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_figures_are_those_of_torchmetrics_and_scikit_learn(classes: int) -> None:
    logits, labels = drawn(classes)
    made = meter(classes)
    made.add(logits, labels)
    found, known = made.figures(), labels >= 0
    options = {"num_classes": classes, "ignore_index": -1}
    for name, top in (("accuracy", 1), ("top5_accuracy", min(5, classes))):
        expected = multiclass_accuracy(logits, labels, average="micro", top_k=top, **options)  # type: ignore[arg-type]
        assert found[name] == pytest.approx(100 * expected.item(), rel=1e-6)
    error = sklearn.metrics.log_loss(labels[known], logits[known].double().softmax(1), labels=range(classes))
    assert found["cross_entropy"] == pytest.approx(error, rel=1e-6)
    confusion = made.arrays()["confusion"]
    assert np.array_equal(confusion, multiclass_confusion_matrix(logits, labels, **options))  # type: ignore[arg-type]
    predictions = logits[known].argmax(1)
    assert np.array_equal(confusion, sklearn.metrics.confusion_matrix(labels[known], predictions))
    assert made.count() == known.sum()


def test_one_batch_is_two_halves() -> None:
    logits, labels = drawn(20)
    whole, halves = meter(20), meter(20)
    whole.add(logits, labels)
    for part in (slice(0, 110), slice(110, 300)):
        halves.add(logits[part], labels[part])
    assert halves.figures() == pytest.approx(whole.figures(), rel=1e-12)
    for name, array in whole.arrays().items():
        assert np.array_equal(array, halves.arrays()[name])


def test_a_batch_without_labels_changes_nothing() -> None:
    logits, labels = drawn(3)
    once, more = meter(3), meter(3)
    for made in (once, more):
        made.add(logits, labels)
    more.add(torch.full((4, 3), torch.nan), torch.full((4,), -1))
    assert once.figures() == more.figures()
    assert meter(3).count() == 0
    assert meter(3).arrays()["labels"].shape == (0,)
