"""Contrastive representation distillation against a written-out NCE on a bank of ten."""

import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from slow_losses import Numbers, check
from tessera.data.store import Dataset
from tessera.errors import StudyError
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.training.compute import Compute
from tessera.transfer.crd import Bank, Crd
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.options.relations import CrdOptions
from tessera.transfer.seen import see
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network

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


INDEX = torch.tensor([3, 41, 22, 7, 59, 44, 20, 0, 5])  # of 60 images, 20 a class: four, two and three of them


def fitted(
    options: dict[str, Any], network: ReducedAlexNet, teacher: Teacher, dataset: Dataset, compute: Compute
) -> Crd:
    torch.manual_seed(3)
    images = TargetImages(dataset, INDEX, None, lambda pixels: (pixels - 0.5) / 0.25)
    crd = Crd(CrdOptions.model_validate({"negatives": 3, "width": 4, **options}))
    crd.fit_teacher(network, teacher, images, compute, trial=0)
    assert crd.begin_epoch(network, images, compute, trial=0, epoch=0) == {}
    return crd


def test_negatives_are_all_images_or_those_of_other_classes(
    network: ReducedAlexNet, teacher: Teacher, dataset: Dataset, compute: Compute
) -> None:
    labels = torch.tensor([0, 1, 2]).repeat_interleave(400)
    classes = torch.empty(9, dtype=torch.int64)  # of the banks' rows
    for mode in ("all", "other_classes"):
        crd = fitted({"mode": mode}, network, teacher, dataset, compute)
        classes[crd.place[INDEX]] = dataset.train.labels[INDEX]
        assert sorted(crd.place[INDEX].tolist()) == list(range(9))
        drawn = crd.negatives(labels)
        assert drawn.shape == (1200, 3)
        for label in range(3):
            counts = torch.bincount(drawn[labels == label].flatten(), minlength=9)
            allowed = (classes != label) | torch.tensor(mode == "all")
            assert (counts > 0).tolist() == allowed.tolist()
            expected = 1200 / int(allowed.sum())
            assert (counts[allowed] - expected).abs().max() < 5 * expected**0.5  # alike often


def test_the_term_is_of_both_directions_and_moves_both_banks(
    network: ReducedAlexNet, teacher: Teacher, dataset: Dataset, compute: Compute
) -> None:
    crd = fitted({"weight": 2.0}, network, teacher, dataset, compute)
    index = INDEX[:4]
    pixels = dataset.train.images[index].float() / 255
    labels = dataset.train.labels[index]
    seen = see(Views(pixels, (pixels - 0.5) / 0.25), labels, index, network, teacher, crd.reads)
    ours = nn.functional.normalize(crd.of_student(seen.embedding), dim=1)
    theirs = nn.functional.normalize(crd.of_teacher(seen.features), dim=1)
    state = crd._generator.get_state()
    negatives = crd.negatives(labels)
    crd._generator.set_state(state)
    expected = 0.0
    for bank, anchors in ((crd.teachers, ours), (crd.students, theirs)):
        likeness = (anchors @ bank.embeddings.T / 0.07).exp()
        own = likeness[torch.arange(4), crd.place[index]]
        others = likeness.gather(1, negatives)
        scale = 9 * torch.cat([own[:, None], others], dim=1).mean()
        h_own, h_others = (x / scale / (x / scale + 3 / 9) for x in (own, others))
        expected += 2 * -(h_own.log() + (1 - h_others).log().sum(dim=1)).mean().item()
    before = [bank.embeddings.clone() for bank in (crd.students, crd.teachers)]
    term = crd.term(seen, network)
    assert term is not None
    assert term.item() == pytest.approx(expected, rel=1e-5)
    for bank, old, new in zip((crd.students, crd.teachers), before, (ours, theirs), strict=True):
        moved = (bank.embeddings - old).abs().sum(dim=1) > 0
        assert moved.nonzero().flatten().tolist() == sorted(crd.place[index].tolist())
        expected_rows = nn.functional.normalize(0.5 * old[crd.place[index]] + 0.5 * new, dim=1)
        assert_close(bank.embeddings[crd.place[index]], expected_rows)
    term.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in (*crd.of_student.parameters(), *crd.of_teacher.parameters()))


def test_more_negatives_than_images_are_refused_and_more_than_a_third_advised_against(
    network: ReducedAlexNet, teacher: Teacher, dataset: Dataset, compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StudyError, match=r"`crd`: negatives is 10, but there are 9 .* set its `negatives` to 3 or"):
        fitted({"negatives": 10}, network, teacher, dataset, compute)
    with pytest.raises(StudyError, match=r"there are 5 labelled images to draw from \(mode `other_classes`\)"):
        fitted({"negatives": 6, "mode": "other_classes"}, network, teacher, dataset, compute)
    with caplog.at_level(logging.WARNING, logger="tessera"):
        fitted({"negatives": 3}, network, teacher, dataset, compute)
        assert not caplog.messages
        fitted({"negatives": 9}, network, teacher, dataset, compute)
    assert "more than a third of the 9 labelled images: advised are 3 or less" in caplog.text


def test_the_history_has_the_partitions_from_the_second_epoch_on(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    rows = train_network(settings("crd"), teacher, dataset, compute, trial=0, resume=None).history
    names = {"log_partition_student", "log_partition_teacher"}
    assert [names & row.keys() for row in rows] == [set(), names]
    assert all(math.isfinite(rows[1][name]) for name in names)
