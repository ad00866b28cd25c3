"""What it finds, beside what torchvision makes of the same predictions."""

import pytest
import torch
from ssd_making import Objects, network_of, torchvision_of
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models.detection import _utils as detection

from tessera.models.networks.base import Detections
from tessera.models.networks.ssd import SSD300


def assert_same(ours: Detections, theirs: dict[str, Tensor]) -> None:
    assert_close(ours.boxes, theirs["boxes"])
    assert_close(ours.scores, theirs["scores"])
    assert torch.equal(ours.labels, theirs["labels"] - 1)


def sure_network(images: int, **own: object) -> SSD300:
    """With predictions that are drawn, so that scores differ and no two are equal."""
    network = network_of("resnet8", 64, **own).eval()
    logits, codes = (2 * torch.randn(images, len(network.default_boxes), k) for k in (4, 4))
    network.predict = lambda _: (logits, codes)  # type: ignore[method-assign]
    return network


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"score_threshold": 0.3},
        {"nms_iou": 0.2},
        {"topk_candidates": 5, "detections_per_image": 9},
        {"score_threshold": 0.0, "topk_candidates": 10_000, "nms_iou": 1.0, "detections_per_image": 10_000},
    ],
)
def test_detections_are_those_of_torchvision(own: dict[str, object]) -> None:
    network, images = sure_network(2, **own), torch.empty(2, 3, 64, 64)
    with torch.no_grad():
        logits, codes = network.predict(images)
    expected = torchvision_of(network).postprocess_detections(
        {"bbox_regression": codes, "cls_logits": logits}, [network.default_boxes] * 2, [(64, 64)] * 2
    )
    found = network.detect(images)
    assert all(len(one.boxes) > 0 for one in found)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)


def test_detections_are_best_first_within_the_image_and_few() -> None:
    network = sure_network(3, detections_per_image=7)
    for found in network.detect(torch.empty(3, 3, 64, 64)):
        assert len(found.boxes) == 7
        assert torch.equal(found.scores, found.scores.sort(descending=True).values)
        assert found.boxes.min() >= 0
        assert found.boxes.max() <= 64
        assert set(found.labels.tolist()) <= {0, 1, 2}
        assert not found.boxes.requires_grad


def test_where_nothing_scores_nothing_is_found() -> None:
    (found,) = network_of(score_threshold=0.999).eval().detect(torch.randn(1, 3, 64, 64))
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))


def test_perfect_predictions_find_the_objects() -> None:
    network = network_of("resnet8", 64)
    objects = Objects(torch.tensor([[4.0, 6.0, 30.0, 40.0], [35.0, 5.0, 60.0, 50.0]]), torch.tensor([2, 0]))
    classes, boxes = network.assign([objects])
    coder = detection.BoxCoder((10.0, 10.0, 5.0, 5.0))
    codes = coder.encode_single(boxes[0], network.default_boxes)[None]
    logits = 20.0 * nn.functional.one_hot(classes, 4).float()
    network.predict = lambda images: (logits, codes)  # type: ignore[method-assign]
    (found,) = network.detect(torch.empty(1, 3, 64, 64))
    order = found.labels.argsort(descending=True)
    assert_close(found.boxes[order], objects.boxes)
    assert found.labels[order].tolist() == [2, 0]
    losses = network.losses(torch.empty(1, 3, 64, 64), [objects])
    assert losses["localization"] < 1e-6
    assert losses["classification"] < 1e-3
