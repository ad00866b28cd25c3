"""The stage `evaluate_target`, pinned: where these numbers change, its cached artifacts are no longer right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tessera import registry
from tessera.data.detection import DetectionDataset, Objects
from tessera.data.store import Dataset, Split
from tessera.models.networks.base import DetectionNetwork, Detections
from tessera.study.jobs import EvaluateTarget
from tessera.training import Compute

PINNED: dict[str, dict[str, float]] = {
    "classification": {"accuracy": 33.3333, "top5_accuracy": 100.0, "cross_entropy": 4.352536},
    "linear_probe": {"accuracy": 46.6667, "train_accuracy": 100.0},
    "knn": {"accuracy": 58.3333},
    "detection": {"map_voc07": 21.660603, "map_area": 18.715552},
}


def fill(model: nn.Module) -> nn.Module:
    """Weights that no version of torch draws."""
    draw = np.random.default_rng(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                values = draw.normal(0, np.sqrt(2 / weight[0].numel()), tuple(weight.shape))
                weight.copy_(torch.from_numpy(values))
    return model


def make_dataset() -> Dataset:
    draw = np.random.default_rng(1)
    colors = draw.uniform(0.2, 0.8, (3, 3, 1, 1))
    splits = {}
    for name, number in {"train": 90, "test": 60}.items():
        labels = np.arange(number) % 3
        images = colors[labels] + draw.normal(0, 0.5, (number, 3, 16, 16)) + draw.normal(0, 0.15, (number, 3, 1, 1))
        pixels = (images.clip(0, 1) * 255).astype(np.uint8)
        splits[name] = Split(torch.from_numpy(pixels), torch.from_numpy(labels))
    return Dataset(("a", "b", "c"), 16, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), splits)


def models() -> dict[str, nn.Module]:
    encoder = registry.load("encoder", "resnet8")(registry.find("encoder", "resnet8").options())  # type: ignore[call-arg]
    options = registry.find("network", "reduced_alexnet").options(hidden=16)  # type: ignore[call-arg]
    network = registry.load("network", "reduced_alexnet")(options, num_classes=3, image_size=16)
    return {"encoder": fill(encoder), "network": fill(network)}


@pytest.mark.parametrize("name", ["classification", "linear_probe", "knn"])
def test_results_change_only_with_the_version(name: str) -> None:
    assert EvaluateTarget.version == 1, "pin the new version's numbers"
    part, dataset = registry.find("protocol", name), make_dataset()
    options: Any = part.options(name=name)
    found = registry.load("protocol", name)(options).evaluate(
        models()[options.measures], dataset.mean, dataset.std, dataset, dataset.train,
        Compute(torch.device("cpu"), "float32"), 0,
    )  # fmt: skip
    assert found.metrics == pytest.approx(PINNED[name], rel=1e-3), "results changed: bump EvaluateTarget.version"


class Squares:
    """A detection split: dark images with bright squares, a brightness a class; some are difficult."""

    def __init__(self) -> None:
        draw = np.random.default_rng(2)
        self.images, self.marked = [], []
        for _ in range(12):
            image, boxes = torch.from_numpy(draw.integers(0, 60, (3, 48, 64), dtype=np.uint8)), []
            labels = draw.integers(0, 3, 3)
            for left, label in zip((0, 22, 44), labels, strict=True):
                x, y, side = left + int(draw.integers(4)), int(draw.integers(30)), int(draw.integers(8, 17))
                image[:, y : y + side, x : x + side] = 120 + 60 * int(label)
                boxes.append([x, y, x + side, y + side])
            self.images.append(image)
            difficult = torch.from_numpy(draw.random(3) < 0.2)
            self.marked.append(Objects(torch.tensor(boxes, dtype=torch.float32), torch.from_numpy(labels), difficult))

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        return self.images[index]

    def objects(self, index: int) -> Objects:
        return self.marked[index]

    def name(self, index: int) -> str:
        return str(index)

    def size(self, index: int) -> tuple[int, int]:
        return 48, 64


class BrightPlaces(DetectionNetwork):
    """Says of every place of a grid how bright it is, and guesses the class from that."""

    layer_channels = {"color": 3}  # noqa: RUF012
    num_classes, image_size = 3, 32

    def losses(self, images: Tensor, objects: Sequence[Any]) -> dict[str, Tensor]:
        raise NotImplementedError

    def detect(self, images: Tensor) -> list[Detections]:
        bright = nn.functional.avg_pool2d(images.mean(1), 8, 2)  # (N, 13, 13)
        found = []
        for image in bright:
            scores, place = image.flatten().sort(descending=True, stable=True)
            x, y = 2.0 * (place % 13), 2.0 * (place // 13)
            boxes = torch.stack([x - 1, y - 1, x + 9, y + 9], 1)[:40]
            found.append(Detections(boxes, scores[:40], (scores[:40] * 4.5 - 1.5).round().clamp(0, 2).long()))
        return found


def test_detection_changes_only_with_the_version() -> None:
    assert EvaluateTarget.version == 1, "pin the new version's numbers"
    splits: Any = {"train": Squares(), "test": Squares()}
    dataset = DetectionDataset(("a", "b", "c"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), splits)
    found = registry.load("protocol", "detection")(
        registry.find("protocol", "detection").options(name="detection")
    ).evaluate(BrightPlaces(), dataset.mean, dataset.std, dataset, None, Compute(torch.device("cpu"), "float32"), 0)
    assert found.metrics == pytest.approx(PINNED["detection"], rel=1e-3), "results changed: bump EvaluateTarget.version"
