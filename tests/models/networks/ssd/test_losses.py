"""Which box is whose, and the losses: the values and gradients of torchvision's, and the pieces by hand."""

import pytest
import torch
from ssd_making import Objects, network_of, no_objects, random_objects, torchvision_of
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import box_iou

from tessera.models.networks.ssd import SSD300


def torchvision_losses(network: SSD300, images: Tensor, objects: list[Objects]) -> dict[str, Tensor]:
    theirs = torchvision_of(network)
    logits, codes = network.predict(images)
    targets = [{"boxes": o.boxes, "labels": o.labels + 1} for o in objects]
    priors = network.default_boxes
    matched = [
        theirs.proposal_matcher(box_iou(o.boxes, priors)) if len(o.boxes) else torch.full((len(priors),), -1)
        for o in objects
    ]
    head = {"bbox_regression": codes, "cls_logits": logits}
    losses: dict[str, Tensor] = theirs.compute_loss(targets, head, [priors] * len(images), matched)
    return losses | {"positives": torch.stack([(m >= 0).sum() for m in matched]).sum()}


@pytest.mark.parametrize("counts", [(1,), (4, 0, 7), (0, 1), (12, 3)])
def test_losses_and_gradients_are_those_of_torchvision(counts: tuple[int, ...]) -> None:
    network = network_of("resnet8", 64)
    images = torch.randn(len(counts), 3, 64, 64)
    objects = [random_objects(count, 64, 3) for count in counts]
    expected = torchvision_losses(network, images, objects)
    (expected["bbox_regression"] + expected["classification"]).backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    found = network(images, objects)
    assert found["positives"] == expected["positives"]
    assert_close(found["localization"] / found["positives"], expected["bbox_regression"])
    assert_close(found["classification"] / found["positives"], expected["classification"])
    ((found["localization"] + found["classification"]) / found["positives"]).backward()
    assert_close({n: p.grad for n, p in network.named_parameters()}, gradients, rtol=1e-4, atol=1e-6)


def assigned_by_loops(priors: Tensor, objects: Objects) -> tuple[list[int], Tensor]:
    overlap = box_iou(objects.boxes, priors).tolist()
    owner = []
    for p in range(len(priors)):
        best = max(range(len(overlap)), key=lambda o: overlap[o][p])
        owner.append(best if overlap[best][p] >= 0.5 else -1)
    for o in range(len(overlap)):
        owner[max(range(len(priors)), key=lambda p: overlap[o][p])] = o
    boxes = torch.stack([objects.boxes[o] if o >= 0 else priors[p] for p, o in enumerate(owner)])
    return [int(objects.labels[o]) + 1 if o >= 0 else 0 for o in owner], boxes


def test_objects_are_assigned_as_by_loops_whatever_shares_their_batch() -> None:
    network = network_of("resnet8", 64)
    some, more = random_objects(3, 64, 3), random_objects(9, 64, 3)
    twice = Objects(some.boxes[[0, 0]], torch.tensor([2, 1]))  # one best box for two: the later object has it
    batch = [some, no_objects(), more, twice]
    classes, boxes = network.assign(batch)
    for row, objects in enumerate(batch):
        if len(objects.boxes) == 0:
            assert not classes[row].any()
            assert torch.equal(boxes[row], network.default_boxes)
            continue
        expected, places = assigned_by_loops(network.default_boxes, objects)
        assert classes[row].tolist() == expected
        assert_close(boxes[row], places, rtol=0, atol=0)
    assert (classes[0] > 0).sum() >= 3


def test_a_box_of_no_area_is_nobodys() -> None:
    network = network_of("resnet8", 64)
    objects = random_objects(2, 64, 3)
    flat = Objects(
        torch.cat([torch.tensor([[5.0, 5.0, 5.0, 9.0]]), objects.boxes, torch.tensor([[9.0, 5.0, 12.0, 5.0]])]),
        torch.cat([torch.tensor([2]), objects.labels, torch.tensor([1])]),
    )
    for found, expected in zip(network.assign([flat]), network.assign([objects]), strict=True):
        assert torch.equal(found, expected)


def test_negatives_are_the_hardest_three_of_a_positive_by_hand() -> None:
    network = network_of("resnet8", 64, num_classes=1)
    objects = random_objects(1, 64, 1)
    logits, codes = network.predict(torch.randn(1, 3, 64, 64))
    classes, _ = network.assign([objects])
    entropies = [torch.logsumexp(row, 0) - row[int(k)] for row, k in zip(logits[0], classes[0], strict=True)]
    positives = [e for e, k in zip(entropies, classes[0], strict=True) if k > 0]
    others = sorted((e for e, k in zip(entropies, classes[0], strict=True) if k == 0), reverse=True)
    expected = sum(positives) + sum(others[: 3 * len(positives)])
    network.predict = lambda images: (logits, codes)  # type: ignore[method-assign]
    assert_close(network.losses(torch.empty(1, 3, 64, 64), [objects])["classification"], expected)


def test_without_objects_the_losses_are_zero_and_so_are_the_gradients() -> None:
    network = network_of("resnet8", 64)
    losses = network.losses(torch.randn(2, 3, 64, 64), [no_objects(), no_objects()])
    assert {name: loss.item() for name, loss in losses.items()} == {
        "localization": 0.0,
        "classification": 0.0,
        "positives": 0.0,
    }
    (losses["localization"] + losses["classification"]).backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters() if p.requires_grad)


def test_an_image_without_objects_adds_nothing() -> None:
    network = network_of("resnet8", 64).eval()
    images, objects = torch.randn(2, 3, 64, 64), random_objects(3, 64, 3)
    assert_close(network.losses(images, [objects, no_objects()]), network.losses(images[:1], [objects]))


def test_sums_of_parts_of_a_batch_are_the_sums_of_the_batch() -> None:
    network = network_of("resnet8", 64).eval()
    images, objects = torch.randn(3, 3, 64, 64), [random_objects(n, 64, 3) for n in (2, 5, 1)]
    parts = [network.losses(images[i : i + 1], objects[i : i + 1]) for i in range(3)]
    whole = network.losses(images, objects)
    assert_close({name: sum(part[name] for part in parts) for name in whole}, whole)


def test_the_same_step_twice_gives_the_same_gradients() -> None:
    network = network_of("resnet8", 64)
    images, objects = torch.randn(2, 3, 64, 64), [random_objects(4, 64, 3), random_objects(2, 64, 3)]
    gradients = []
    for _ in range(2):
        sum(network.losses(images, objects).values()).backward()  # type: ignore[union-attr]
        gradients.append({name: p.grad for name, p in network.named_parameters()})
        network.zero_grad(set_to_none=True)
    assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["alexnet", "resnet8"])
def test_bfloat16_and_channels_last_give_nearly_the_same(name: str) -> None:
    network = network_of(name, 64).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    objects = [random_objects(3, 64, 3), random_objects(1, 64, 3)]
    values, gradients = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = network.losses(images, objects)
            found = network.detect(images)
        assert {loss.dtype for loss in losses.values()} == {torch.float32}
        assert {(f.boxes.dtype, f.scores.dtype, f.labels.dtype) for f in found} == {
            (torch.float32, torch.float32, torch.int64)
        }
        # What a kernel does not write, it finds as this left it.
        dirty = [torch.full_like(p, 1e30, dtype=d) for p in network.parameters() for d in (torch.bfloat16, p.dtype)]
        del dirty
        (losses["localization"] + losses["classification"]).backward()
        values.append(torch.stack([loss.detach() for loss in losses.values()]))
        gradients.append(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]))
        network.zero_grad(set_to_none=True)
    assert_close(values[1], values[0], rtol=0.05, atol=0.05)
    assert torch.linalg.vector_norm(gradients[1] - gradients[0]) < 0.2 * torch.linalg.vector_norm(gradients[0])


def test_images_of_another_size_are_refused() -> None:
    network = network_of("resnet8", 64)
    with pytest.raises(ValueError, match=r"sees 64 px a side, but got 64 x 32 px"):
        network.losses(torch.empty(1, 3, 64, 32), [no_objects()])
