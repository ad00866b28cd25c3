"""Contrastive representation distillation against a written-out NCE on a bank of ten."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from slow_losses import Numbers, check
from tessera.transfer.crd import Bank

TEMPERATURE = 0.5


@pytest.fixture
def bank() -> Bank:
    return Bank(images=10, width=3, temperature=TEMPERATURE, momentum=0.5).double()


ROWS = torch.tensor([2, 7])
NEGATIVES = torch.tensor([[0, 1, 9, 9], [3, 2, 4, 5]])  # 9 is drawn twice


def slow_nce(anchors: Numbers, bank: Tensor, partition: float | None) -> tuple[float, float]:
    likeness = [
        [math.exp(float(anchor @ bank[row].numpy()) / TEMPERATURE) for row in (own, *others)]
        for anchor, own, others in zip(anchors, ROWS.tolist(), NEGATIVES.tolist(), strict=True)
    ]
    if partition is None:
        partition = 10 * sum(map(sum, likeness)) / sum(map(len, likeness))
    noise, total = 4 / 10, 0.0
    for own, *others in likeness:
        total += math.log(own / partition / (own / partition + noise))
        total += sum(math.log(noise / (other / partition + noise)) for other in others)
    return -total / len(anchors), partition


def test_the_loss_is_nce_over_a_partition_of_the_first_batch(bank: Bank) -> None:
    first, second = torch.randn(2, 2, 3, dtype=torch.float64)
    expected, partition = slow_nce(first.numpy(), bank.embeddings, None)
    assert bank.contrast(first, ROWS, NEGATIVES).item() == pytest.approx(expected, rel=1e-12)
    assert bank.log_partition.item() == pytest.approx(math.log(partition), rel=1e-12)
    check(
        lambda anchors: bank.contrast(anchors, ROWS, NEGATIVES),
        lambda anchors: slow_nce(anchors, bank.embeddings, partition)[0],
        second,
    )


def test_embeddings_move_by_momentum_and_back_to_unit_length(bank: Bank) -> None:
    before, new = bank.embeddings.clone(), torch.randn(2, 3, dtype=torch.float64)
    bank.renew(new, ROWS)
    moved = 0.5 * before[ROWS] + 0.5 * new
    assert_close(bank.embeddings[ROWS], moved / moved.norm(dim=1, keepdim=True))
    others = [row for row in range(10) if row not in ROWS]
    assert torch.equal(bank.embeddings[others], before[others])
    assert "embeddings" in bank.state_dict()


def test_a_bank_may_move_before_the_gradient_is_made(bank: Bank) -> None:
    anchors = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(bank.contrast(anchors, ROWS, NEGATIVES), anchors)
    loss = bank.contrast(anchors, ROWS, NEGATIVES)
    bank.renew(torch.randn(2, 3, dtype=torch.float64), ROWS)
    assert_close(torch.autograd.grad(loss, anchors), expected)
