"""The stage `evaluate_target`, pinned: where these numbers change, its cached artifacts are no longer right."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pins
import pytest
import torch
from scenes import squares
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.jobs import EvaluateTarget
from tessera.models.networks.base import DetectionNetwork, Detections
from tessera.protocols.base import Measured
from tessera.training.compute import Compute

PINNED: dict[str, dict[str, float]] = {
    "classification": {
        "accuracy": 14.28571429,
        "error": 85.71428571,
        "top5_accuracy": 72.14285714,
        "cross_entropy": 8.463959693,
        "labels": 639.2728874,
        "predictions": 876.6834965,
        "logits": 3882.541329,
    },
    "linear_probe": {
        "accuracy": 28.57142857,
        "train_accuracy": 100,
        "labels": 639.2728874,
        "predictions": 667.5505151,
        "weights": 98.80014659,
    },
    "knn": {
        "accuracy": 30.71428571,
        "labels": 639.2728874,
        "predictions": 518.1260261,
    },
    "BrightPlaces": {
        "map_voc07": 22.60738589,
        "map_area": 22.03893479,
        "image": 4062.286435,
        "boxes": 75677.92118,
        "scores": 285.8187544,
        "labels": 219.2860063,
        "truth_image": 286.4454168,
        "truth_boxes": 5564.063342,
        "truth_labels": 44.98351887,
        "image_sizes": 2187.046011,
        "ap_voc07": 85.65708046,
        "ap_area": 116.6377755,
        "class_objects": 25.32014951,
        "curve_class": 22.31841858,
        "curve_scores": 12.54562336,
        "curve_precision": 6.693118417,
        "curve_recall": 8.542764363,
    },
    "ssd": {
        "map_voc07": 0.04515289274,
        "map_area": 0.04109900383,
        "image": 19514.25325,
        "boxes": 403908.2557,
        "scores": 2587.048228,
        "labels": 2896.839882,
        "truth_image": 333.9382143,
        "truth_boxes": 5212.597394,
        "truth_labels": 46.5654051,
        "image_sizes": 1869.510637,
        "ap_voc07": 0.2028818748,
        "ap_area": 0.2161003022,
        "class_objects": 39.61920131,
        "curve_class": 5.349036865,
        "curve_scores": 4.062292328,
        "curve_precision": 0.01294709723,
        "curve_recall": 0.6857106353,
    },
}


def make_dataset() -> Dataset:
    draw = np.random.default_rng(1)
    colors = draw.uniform(0.2, 0.8, (7, 3, 1, 1))
    splits = {}
    for name, number in {"train": 91, "test": 140}.items():
        labels = np.arange(number) % 7
        images = colors[labels] + draw.normal(0, 0.5, (number, 3, 16, 16)) + draw.normal(0, 0.15, (number, 3, 1, 1))
        pixels = (images.clip(0, 1) * 255).astype(np.uint8)
        splits[name] = Split(torch.from_numpy(pixels), torch.from_numpy(labels))
    return Dataset(tuple("abcdefg"), 16, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), splits)


def models() -> dict[str, nn.Module]:
    encoder = registry.load("encoder", "resnet8")(registry.find("encoder", "resnet8").options())  # type: ignore[call-arg]
    options = registry.find("network", "reduced_alexnet").options(hidden=16)  # type: ignore[call-arg]
    network = registry.load("network", "reduced_alexnet")(options, num_classes=7, image_size=16)
    return {"encoder": pins.fill(encoder), "network": pins.fill(network)}


@pytest.mark.parametrize("name", ["classification", "linear_probe", "knn"])
def test_results_change_only_with_the_version(name: str, cpu: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processors, libraries and threads changed these numbers by at most 6e-16 of them."""
    assert EvaluateTarget.version == 1, "pin the new version's numbers"
    fitted, fit = {}, LogisticRegression.fit

    def keep(classifier: LogisticRegression, *given: Any) -> LogisticRegression:
        fitted["weights"] = fit(classifier, *given).coef_  # predictions alone would hide a small change
        return classifier

    monkeypatch.setattr(LogisticRegression, "fit", keep)
    part, dataset = registry.find("protocol", name), make_dataset()
    options: Any = part.options(name=name)
    evaluation = registry.load("protocol", name)(options).evaluate(
        Measured(models()[options.measures], dataset.normalization), dataset, dataset.train, cpu, 0
    )
    found = {**evaluation.metrics, **pins.projections(evaluation.arrays | fitted)}
    pins.compare(found, PINNED[name], "EvaluateTarget")


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


def ssd() -> nn.Module:
    encoder: Any = registry.find("encoder", "resnet8").options()  # type: ignore[call-arg]
    options = registry.find("network", "ssd300").options(encoder=encoder, image_size=64)  # type: ignore[call-arg]
    network = registry.load("network", "ssd300")(options, registry.load("encoder", "resnet8")(encoder), 3)
    return pins.fill(network)


@pytest.mark.parametrize("detector", [BrightPlaces, ssd])
def test_detection_changes_only_with_the_version(detector: Callable[[], nn.Module], cpu: Compute) -> None:
    """Other processors, libraries and threads changed these numbers by at most 6e-16 of them."""
    assert EvaluateTarget.version == 1, "pin the new version's numbers"
    dataset = squares()
    protocol = registry.load("protocol", "detection")(registry.find("protocol", "detection").options(name="detection"))
    evaluation = protocol.evaluate(Measured(detector(), dataset.normalization), dataset, None, cpu, 0)
    arrays = {name: array for name, array in evaluation.arrays.items() if array.dtype.kind in "iuf"}
    found = {**evaluation.metrics, **pins.projections(arrays)}
    pins.compare(found, PINNED[detector.__name__], "EvaluateTarget")
