"""Classification against torchmetrics, and where there are few classes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from tessera.data.store import Dataset, Split
from tessera.errors import DivergedError
from tessera.protocols.base import Measured
from tessera.protocols.classification import Classification
from tessera.protocols.options import ClassificationProtocolOptions
from tessera.training.compute import Compute


class Table(torch.nn.Module):
    """Logits that an image's first pixel looks up: whatever a test wants a network to say."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.table[images[:, 0, 0, 0].mul(255).round().long()]


def evaluate(logits: Tensor, labels: Tensor, compute: Compute) -> Any:
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    split = Split(images, labels)
    names = tuple(str(index) for index in range(logits.shape[1]))
    dataset = Dataset(names, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), {"train": split, "test": split})
    protocol = Classification(ClassificationProtocolOptions())
    return protocol.evaluate(Measured(Table(logits), dataset.normalization), dataset, split, compute, 0)  # type: ignore[arg-type]


def test_matches_torchmetrics(compute: Compute) -> None:
    logits, labels = torch.randn(200, 12), torch.randint(12, (200,))
    found = evaluate(logits, labels, compute)
    for key, k in (("accuracy", 1), ("top5_accuracy", 5)):
        expected = 100 * multiclass_accuracy(logits, labels, 12, average="micro", top_k=k)
        assert found.metrics[key] == pytest.approx(expected.item(), rel=1e-6)
    assert found.metrics["error"] == pytest.approx(100 * (logits.argmax(1) != labels).double().mean().item())
    by_hand = -np.mean([row[y] - np.log(np.exp(row).sum()) for row, y in zip(logits.numpy(), labels, strict=True)])
    assert found.metrics["cross_entropy"] == pytest.approx(by_hand, rel=1e-5)
    assert np.array_equal(found.arrays["logits"], logits.numpy())


def test_among_five_classes_or_fewer_the_label_is_always_in_the_first_five(compute: Compute) -> None:
    found = evaluate(torch.randn(50, 4), torch.randint(4, (50,)), compute)
    assert found.metrics["top5_accuracy"] == 100.0
    assert found.metrics["accuracy"] < 100.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_diverged_is_not_measured(value: float, compute: Compute) -> None:
    """An answer that is no number is at the place of the first class: it would pass for a figure at chance."""
    logits = torch.randn(20, 3)
    logits[4, 1] = value
    with pytest.raises(DivergedError, match="answers that are not finite"):
        evaluate(logits, torch.arange(20) % 3, compute)


def test_a_cross_entropy_beyond_all_numbers_is_no_figure(compute: Compute) -> None:
    logits = 3e38 * torch.randn(20, 3).sign()
    with pytest.raises(DivergedError, match="`cross_entropy` is inf: the training of what is measured diverged"):
        evaluate(logits, torch.arange(20) % 3, compute)
