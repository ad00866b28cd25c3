"""Detection: how well does the trained network find objects?"""

import csv
import io
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image
from torchvision.transforms.v2 import functional as F

from tessera.data.decode import map_in_threads
from tessera.data.detection import DetectionDataset, DetectionSplit, load_detection
from tessera.data.normalization import Normalization
from tessera.data.thumbnails import may_draw
from tessera.detection.average_precision import Curve, Found, Truth, curves, match, mean
from tessera.detection.examples import choose_examples
from tessera.errors import DataError, StudyError
from tessera.models.networks.base import DetectionNetwork
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.training.compute import Compute

log = logging.getLogger("tessera")

BATCH = 16  # images


class Detection(Protocol):
    """Mean average precision of the target network on the test split: `map_voc07` averages the precision at eleven
    recalls, `map_area` is the area under its envelope, as VOC counted until 2009 and since; both in percent.

    Each image is resized to the square that the network sees, as in training, and its boxes are scaled back to the
    image's own size and clipped to it. The mean is over the classes of which the test split has an object that is not
    difficult; without one it is None.

    Source: `tessera.detection.average_precision`. Kim, Lee & Song 2019 (Table 3) do not say which average they print;
    SSD's own 77.2 (Liu et al. 2016, Table 1) is the eleven-point one.

    Raises:
        DataError: If the test split has no image, or the network does not know its classes.
        StudyError: If the network is no detector.
    """

    def load(self, folder: Path, device: torch.device) -> DetectionDataset:
        return load_detection(folder)  # its images have many sizes, and are decoded when they are asked for

    def labeled(self, dataset: DetectionDataset, fraction: float, trial: int) -> None:
        """Nothing: the network has learned already, and no label of a training image is read."""

    def evaluate(
        self,
        measured: Measured,
        dataset: DetectionDataset,
        labeled: None,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        split, classes, iou, model = dataset.test, dataset.classes, self.options.iou, measured.model
        if not isinstance(model, DetectionNetwork):
            raise StudyError(f"protocol: `detection` measures detectors, but {type(model).__name__} finds no objects")
        if not len(split):
            raise DataError("the test split has no images, so there is nothing to measure: choose another dataset")
        if model.num_classes != len(classes):
            raise DataError(f"the network tells {model.num_classes} classes, but the dataset has {len(classes)}")
        found, truth = detect(model, split, measured.normalization, compute), objects_of(split)
        matches = match(found, truth, iou)
        by_class = curves(found, truth, matches, len(classes))
        metrics = {
            "map_voc07": _map([c.eleven_points() for c in by_class]),
            "map_area": _map([c.area() for c in by_class]),
        }
        log.info("detection: %d boxes in %d images, %d objects, %s", len(found), len(split), len(truth), metrics)
        draw = may_draw(dataset, "examples")
        files = choose_examples(split, classes, found, truth, matches, iou, draw)
        return Evaluation(
            metrics,
            _arrays(split, classes, found, truth, by_class),
            files={"per_class.csv": _per_class(classes, by_class).encode(), **files},
        )


def detect(model: DetectionNetwork, split: DetectionSplit, normalization: Normalization, compute: Compute) -> Found:
    """What the network finds in every image, image by image, best first, in px of the image; in eval mode."""
    compute.place(model).eval()
    normalize = normalization.of_images(compute.device)
    image, boxes, scores, labels = [], [], [], []
    start = 0
    with torch.no_grad():
        for batch in map_in_threads(partial(_decode, split, model.image_size), range(len(split)), BATCH):
            with compute.autocast():
                detections = model.detect(normalize(batch))
            for index, some in enumerate(detections, start):
                height, width = split.size(index)
                scale = torch.tensor([width, height, width, height]) / model.image_size
                placed = some.boxes.float().cpu() * scale
                boxes.append(clip_boxes_to_image(placed, (height, width)))
                scores.append(some.scores.float().cpu())
                labels.append(some.labels.cpu())
                image.append(torch.full((len(placed),), index))
            start += len(batch)
    return Found(*(torch.cat(parts).numpy() for parts in (image, boxes, scores, labels)))


def objects_of(split: DetectionSplit) -> Truth:
    """The objects of all images, image by image."""
    objects = [split.objects(index) for index in range(len(split))]
    image = torch.arange(len(split)).repeat_interleave(torch.tensor([len(some.labels) for some in objects]))
    parts = ([some.boxes for some in objects], [some.labels for some in objects], [some.difficult for some in objects])
    return Truth(image.numpy(), *(torch.cat(part).numpy() for part in parts))


def _decode(split: DetectionSplit, size: int, indices: Sequence[int]) -> Tensor:
    """(N, 3, size, size) uint8, whatever the shape of the images."""
    return torch.stack([F.resize(split.image(index), [size, size], antialias=True) for index in indices])


def _map(values: Sequence[float | None]) -> float | None:
    share = mean(values)
    return None if share is None else 100.0 * share


def _arrays(
    split: DetectionSplit, classes: Sequence[str], found: Found, truth: Truth, by_class: Sequence[Curve]
) -> dict[str, np.ndarray]:
    """All that the figures follow from, so that any other tool can compute them again; averages are in percent."""
    indices = range(len(split))
    lengths = [len(curve.precision) for curve in by_class]
    return {
        "image": found.image,
        "boxes": found.boxes,
        "scores": found.scores,
        "labels": found.labels,
        "truth_image": truth.image,
        "truth_boxes": truth.boxes,
        "truth_labels": truth.labels,
        "truth_difficult": truth.difficult,
        "image_names": np.array([split.name(index) for index in indices], dtype=np.str_),
        "image_sizes": np.array([split.size(index) for index in indices], dtype=np.int64),  # height, width
        "class_names": np.array(classes, dtype=np.str_),
        "ap_voc07": np.array([_percent(curve.eleven_points()) for curve in by_class]),
        "ap_area": np.array([_percent(curve.area()) for curve in by_class]),
        "class_objects": np.array([curve.objects for curve in by_class], dtype=np.int64),
        # The curves end to end, a point a hit; `curve_class` says whose it is.
        "curve_class": np.repeat(np.arange(len(classes)), lengths),
        "curve_scores": np.concatenate([curve.scores for curve in by_class]),
        "curve_precision": np.concatenate([curve.precision for curve in by_class]),
        "curve_recall": np.concatenate([curve.recall for curve in by_class]),
    }


def _percent(share: float | None) -> float:
    return np.nan if share is None else 100.0 * share


def _per_class(classes: Sequence[str], by_class: Sequence[Curve]) -> str:
    """One line a class; averages in percent, empty where the class has no object that counts."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "objects", "detections", "found", "ap_voc07", "ap_area"])
    for name, curve in zip(classes, by_class, strict=True):
        averages = ["" if (ap := of()) is None else round(100 * ap, 6) for of in (curve.eleven_points, curve.area)]
        writer.writerow([name, curve.objects, curve.detections, len(curve.precision), *averages])
    return text.getvalue()
