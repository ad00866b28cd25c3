"""Supervised classification, with and without labels."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tessera.data.labels import Column
from tessera.data.views import flip_and_crop
from tessera.tasks.base import ImageStatistics
from tessera.tasks.classification import Classification
from tessera.tasks.options.labelled import ClassificationOptions

STATISTICS = ImageStatistics(32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), {"class": Column("class", tuple("abcd"))})


def make(**options: Any) -> Classification:
    return Classification(ClassificationOptions(**options), STATISTICS, {}, torch.device("cpu"))


def test_inputs_are_normalised_views_and_labels_the_given_ones() -> None:
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    labels = torch.tensor([0, 3, -1, 2, 1])
    batch = make().make_batch(images, {"class": labels}, torch.Generator().manual_seed(3))
    views = flip_and_crop(images, torch.Generator().manual_seed(3), 4).double() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (STATISTICS.mean, STATISTICS.std))
    assert_close(batch.inputs.double(), (views - mean) / std, atol=1e-5, rtol=1e-5)
    assert torch.equal(batch.labels, labels)


def test_images_without_a_label_count_for_nothing() -> None:
    logits, labels = torch.randn(6, 4, requires_grad=True), torch.tensor([1, -1, 0, 3, -1, 2])
    known = labels >= 0
    loss = make().loss(logits, labels)
    assert_close(loss, F.cross_entropy(logits[known], labels[known]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[~known].any()
    accuracy = (logits.argmax(dim=1) == labels)[known].float().mean()
    assert_close(make().metrics(logits, labels)["accuracy"], accuracy)


def test_a_batch_without_labels_has_loss_0() -> None:
    logits, labels = torch.randn(3, 4, requires_grad=True), torch.full((3,), -1)
    loss = make().loss(logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert make().metrics(logits, labels)["accuracy"] == 0


def test_chance() -> None:
    assert make().chance() == {"loss": math.log(4), "accuracy": 0.25}


def test_hidden_layers_and_dropout() -> None:
    head = make(hidden=(7, 5), dropout=0.3).build_head(9)
    assert [m.out_features for m in head.modules() if isinstance(m, torch.nn.Linear)] == [7, 5, 4]
    assert [m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)] == [0.3, 0.3]
    assert [m.out_features for m in make(hidden=()).build_head(9).modules() if isinstance(m, torch.nn.Linear)] == [4]
