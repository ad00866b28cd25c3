"""Of maps: what predictions of each pixel's class, depth or normal are worth."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from math import degrees

import numpy as np
import torch
from torch import Tensor

from tessera.data.columns import NO_CLASS
from tessera.models.heads.dense import at_size_of
from tessera.tasks.meters.base import Meter

KEPT_BYTES = 64 * 2**20  # of predicted maps, so that figures can be computed again; of the first images, beyond that
BINS_A_DEGREE = 100
THRESHOLDS = {"within_11_25": 11.25, "within_22_5": 22.5, "within_30": 30.0}  # degrees


class MapMeter(Meter):
    """Counts over all pixels that have a label; maps are predicted at any size, and compared at that of the labels.

    Shape:
        arrays: `predictions`, maps of the first images, at most 64 MiB, in their order.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._kept, self._bytes = list[Tensor](), 0

    def add(self, prediction: Tensor, labels: Tensor) -> None:
        prediction = at_size_of(labels, prediction)
        self._keep(self.count_in(prediction, labels))

    @abstractmethod
    def count_in(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """Takes one batch in, predicted at the labels' size, and returns the maps to keep."""

    def _keep(self, maps: Tensor) -> None:
        room = max(0, KEPT_BYTES - self._bytes) // max(1, maps[:1].nbytes)
        if len(kept := maps[:room]):
            self._kept.append(kept)
            self._bytes += kept.nbytes

    def arrays(self) -> dict[str, np.ndarray]:
        return {"predictions": torch.cat(self._kept).cpu().numpy()} if self._kept else {}


class SegmentationMeter(MapMeter):
    """Mean intersection over union, pixel accuracy, and the confusion matrix that both are made of.

    The mean is over the classes that occur, in a label or a prediction. One matrix for all images: older code averages
    over images, which gives other figures.

    Shape:
        prediction: (N, K, h, w) logits.
        labels: (N, H, W) uint8; 255 where there is none.
        arrays: `confusion` (K, K) int64, rows by the right class; `predictions` (M, H, W) uint8.
    """

    def __init__(self, classes: Sequence[str], device: torch.device) -> None:
        super().__init__(device)
        self.number = len(classes)
        self.confusion = torch.zeros(self.number, self.number, dtype=torch.int64, device=device)

    def count_in(self, prediction: Tensor, labels: Tensor) -> Tensor:
        best, known = prediction.argmax(dim=1), labels != NO_CLASS
        pairs = labels[known].long() * self.number + best[known]
        self.confusion += torch.bincount(pairs, minlength=self.number**2).view_as(self.confusion)
        return best.to(torch.uint8)

    def count(self) -> int:
        return int(self.confusion.sum())

    def figures(self) -> dict[str, float]:
        counts = self.confusion.double()
        hits = counts.diagonal()
        union = counts.sum(dim=0) + counts.sum(dim=1) - hits
        occurs = union > 0
        return {
            "mean_iou": 100.0 * float((hits[occurs] / union[occurs]).mean()),
            "pixel_accuracy": 100.0 * float(hits.sum() / counts.sum()),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        return {"confusion": self.confusion.cpu().numpy(), **super().arrays()}


class DepthMeter(MapMeter):
    """Mean absolute and relative error over the pixels whose depth, or disparity, is known.

    Args:
        distances: From a prediction to what the labels are of.

    Shape:
        prediction: (N, 1, h, w).
        labels: (N, H, W), 0 where there is none.
        arrays: `predictions` (M, H, W) float16.
    """

    def __init__(self, device: torch.device, distances: Callable[[Tensor], Tensor]) -> None:
        super().__init__(device)
        self._distances = distances
        # float64: sums of thousands of millions of pixels lose nothing.
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)  # of errors, of relative errors, of pixels

    def count_in(self, prediction: Tensor, labels: Tensor) -> Tensor:
        answer, known = self._distances(prediction)[:, 0], labels > 0
        right = labels[known].double()
        errors = (answer[known].double() - right).abs()
        self.sums += torch.stack([errors.sum(), (errors / right).sum(), known.sum().double()])
        return answer.half()

    def count(self) -> int:
        return int(self.sums[2])

    def figures(self) -> dict[str, float]:
        absolute, relative, number = self.sums.tolist()
        return {"absolute_error": absolute / number, "relative_error": 100.0 * relative / number}


class NormalsMeter(MapMeter):
    """Mean and median angle between predicted and right normal, and shares of the pixels within some angles.

    The median is that of bins of 0.01 degrees, so that pixels need not be kept.

    Shape:
        prediction: (N, 3, h, w), of any length.
        labels: (N, 3, H, W), unit vectors; 0 where there is none.
        arrays: `predictions` (M, 3, H, W) float16, unit vectors.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.bins = torch.zeros(180 * BINS_A_DEGREE + 1, dtype=torch.int64, device=device)
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        self.within = torch.zeros(len(THRESHOLDS), dtype=torch.int64, device=device)

    def count_in(self, prediction: Tensor, labels: Tensor) -> Tensor:
        angles = angles_between(prediction, labels)[labels.any(dim=1)]
        self.bins += torch.bincount((angles * BINS_A_DEGREE).floor().long(), minlength=len(self.bins))
        self.total += angles.sum()
        self.within += torch.stack([(angles < threshold).sum() for threshold in THRESHOLDS.values()])
        return torch.nn.functional.normalize(prediction, dim=1).half()

    def count(self) -> int:
        return int(self.bins.sum())

    def figures(self) -> dict[str, float]:
        number = self.count()
        below = self.bins.cumsum(dim=0)
        median = int((2 * below < number).sum())  # the first bin by which half of the pixels are counted
        shares = (100.0 * self.within.double() / number).tolist()
        return {
            "mean_angle": float(self.total) / number,
            "median_angle": (median + 0.5) / BINS_A_DEGREE,
            **dict(zip(THRESHOLDS, shares, strict=True)),
        }


def angles_between(one: Tensor, other: Tensor) -> Tensor:
    """Angles between vectors of any length, degrees, 0 to 180; by their tangent, since a cosine near 1 says little.

    Shape:
        one, other: (N, 3, H, W).
        returns: (N, H, W) float64.
    """
    one, other = one.double(), other.double()
    across = torch.linalg.cross(one, other, dim=1).norm(dim=1)
    return torch.atan2(across, (one * other).sum(dim=1)) * degrees(1.0)
