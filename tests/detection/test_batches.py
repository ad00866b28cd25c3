"""Batches: the same whoever makes them, and whenever the training began anew."""

from pathlib import Path
from typing import Any

import pytest
import torch
from training_stand_ins import Painted, as_split

from tessera.detection import batches
from tessera.detection.augment import make_augmentation
from tessera.detection.batches import Order, load_batches
from tessera.detection.distribute import ALONE, Share
from tessera.errors import ArtifactError

CPU = torch.device("cpu")
Flat = list[tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]]


def order(first_epoch: int = 0, share: Share = ALONE, trial: int = 0) -> Order:
    return Order(12, 5, 3, first_epoch, 2, trial, share)


def load(order: Order, augmentation: str = "ssd", split: Any = None) -> Flat:
    augment = make_augmentation(augmentation, 32, (0.5, 0.5, 0.5))
    found = load_batches(as_split(split or Painted()), order, augment, CPU)
    return [(images, [(of.boxes, of.labels) for of in objects]) for images, objects in found]


def same(one: Flat, other: Flat) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b)
        and all(torch.equal(x, y) for p, q in zip(m, n, strict=True) for x, y in zip(p, q, strict=True))
        for (a, m), (b, n) in zip(one, other, strict=True)
    )


def test_batches_are_those_of_the_order() -> None:
    found = load(order(), "none")
    painted = Painted()
    assert [len(images) for images, _ in found] == [5] * 6
    for keys, (images, objects) in zip(order(), found, strict=True):
        assert images.dtype == torch.uint8
        for (row, _), image, (boxes, labels) in zip(keys, images, objects, strict=True):
            height, width = painted.size(row)
            of = painted.objects(row)
            easy = ~of.difficult
            torch.testing.assert_close(boxes, of.boxes[easy] * 32 / torch.tensor([width, height] * 2))
            assert torch.equal(labels, of.labels[easy])
            assert image.shape == (3, 32, 32)
    rows = [[row for row, _ in keys] for keys in order()]
    assert sorted(rows[0] + rows[1] + rows[2][:2]) == list(range(12))  # a pass shows every image once
    assert rows[:3] != rows[3:]


def test_every_position_of_every_epoch_and_trial_has_its_own_seed() -> None:
    seeds = [seed for trial in (0, 1) for keys in order(trial=trial) for _, seed in keys]
    assert len(set(seeds)) == len(seeds) == 60


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # more than there are cores
def test_batches_do_not_depend_on_workers_nor_on_where_the_training_began(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(11)
    plain = load(order())
    after = torch.rand(2)
    assert same(plain[3:], load(order(first_epoch=1)))
    assert not same(plain[:3], plain[3:])
    monkeypatch.setattr(batches, "num_workers", lambda *_: 2)
    torch.manual_seed(11)
    assert same(plain, load(order()))
    assert torch.equal(after, torch.rand(2))  # the training's own random numbers are where they were


def test_shares_make_up_the_batch() -> None:
    plain, shares = load(order()), [load(order(share=Share(rank, 2))) for rank in range(2)]
    joined = [(torch.cat([a, b]), m + n) for (a, m), (b, n) in zip(*shares, strict=True)]
    assert same(plain, joined)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_told_in_one_line(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(Painted):
        def image(self, index: int) -> torch.Tensor:
            raise ArtifactError(f"{Path('images-0.bin')}: image {index} is damaged")

    monkeypatch.setattr(batches, "num_workers", lambda *_: workers)
    with pytest.raises(ArtifactError, match=r"^images-0.bin: image \d+ is damaged$"):
        load(order(), split=Damaged())


def test_no_worker_is_left_when_the_generator_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    monkeypatch.setattr(batches, "num_workers", lambda *_: 1)
    found = load_batches(as_split(Painted()), order(), make_augmentation("none", 32, (0.5, 0.5, 0.5)), CPU)
    next(found)
    assert len(multiprocessing.active_children()) == 1
    found.close()
    assert multiprocessing.active_children() == []
