"""What every measurement shares, whichever family it is of: its interface, and the features that it reads."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor, nn

from tessera.data.images import Images, in_slices
from tessera.data.store import Split, label_subset, load_dataset
from tessera.data.views import to_unit
from tessera.errors import DataError, StudyError
from tessera.models.encoders.base import LayeredNetwork
from tessera.registry import suggest
from tessera.training import Compute, generator_of

Statistics = tuple[float, float, float]


@dataclass(frozen=True)
class Evaluation:
    """What a protocol found.

    Attributes:
        metrics: Figures by name: those of the options' `metrics` and no other, finite, or None where there is nothing
            that they could be of. Shares are in percent.
        arrays: What to keep beside them: what was predicted, and what would have been right.
        history: Rows of a protocol that learns in turns, all with the same columns; empty for the others.
        files: What else to keep, by name below the artifact's folder.
    """

    metrics: Mapping[str, float | None]
    arrays: dict[str, np.ndarray]
    history: list[dict[str, float]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


class Protocol(ABC):
    """How a target is measured.

    A protocol knows which kind of dataset it reads: the stage asks it to load the dataset, then for the images whose
    labels may be read, and gives it both back.

    Args:
        options: What the study set.
    """

    def __init__(self, options: Any) -> None:
        self.options = options

    def load(self, folder: Path, device: torch.device) -> Any:
        """The prepared dataset of a folder, as `evaluate` wants it: here a `Dataset` on the device.

        Raises:
            ArtifactError: If it is damaged, or of another kind.
        """
        return load_dataset(folder, device)

    def labeled(self, dataset: Any, fraction: float, trial: int) -> Any:
        """The training images whose labels may be read: here the `Split` that the same trial's transfer learns from.

        Args:
            dataset: What `load` gave.
            fraction: Share of each class, above 0, at most 1.
        """
        known = label_subset(dataset.train.labels, fraction, generator_of(trial, "labels"))
        return dataset.train.subset(known)

    @abstractmethod
    def evaluate(
        self,
        model: Any,
        mean: Statistics,
        std: Statistics,
        dataset: Any,
        labeled: Any,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        """Measures a frozen encoder, or a trained network. Leaves the model as it is, in eval mode.

        Args:
            model: By the options' `measures`: an encoder, or a network of the kind that the protocol is for.
            mean, std: Input normalisation that the model was trained with, in units of [0, 1].
            dataset: What `load` gave.
            labeled: What `labeled` gave.
            trial: Its number seeds whatever is drawn.
            resume: Folder of this job's unfinished state; None keeps nothing.

        Raises:
            StudyError: If the options do not fit the model, such as a layer that it does not have.
            DataError: If there is nothing to measure, such as a test split without labels.
        """


def normalizer(mean: Statistics, std: Statistics, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function from (N, 3, H, W) uint8 to the model's input, (N, 3, H, W) float32 in channels_last."""
    # Made once: a copy to the device in every step would wait for it.
    center, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))

    def normalize(images: Tensor) -> Tensor:
        return (to_unit(images.to(device).contiguous(memory_format=torch.channels_last)) - center) / scale

    return normalize


def predict(
    model: nn.Module, images: Images, mean: Statistics, std: Statistics, compute: Compute, batch_size: int = 500
) -> Tensor:
    """The model's output for every image, in eval mode.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, …) float32, on the device.
    """
    return _in_batches(model, model, images, mean, std, compute, batch_size)


def extract_features(
    encoder: LayeredNetwork,
    images: Images,
    mean: Statistics,
    std: Statistics,
    compute: Compute,
    layer: str | None = None,
    pool_px: int = 1,
    batch_size: int = 500,
) -> Tensor:
    """Features of every image: a layer's map, average-pooled and flattened, in eval mode.

    Args:
        layer: Name of the layer; None: the last.
        pool_px: Height and width to which the map is pooled, at most its own.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, C * pool_px * pool_px) float32, on the device.

    Raises:
        StudyError: If the encoder has no such layer, or its map is smaller than `pool_px`.
    """
    name = list(encoder.layer_channels)[-1] if layer is None else layer
    if name not in (known := [*encoder.layer_channels, *encoder.inner_channels]):
        raise StudyError(f"protocol: the encoder has no layer '{name}'. {suggest(name, known)}")

    def forward(inputs: Tensor) -> Tensor:
        features = encoder.maps(inputs, [name])[name]
        if min(features.shape[-2:]) < pool_px:
            size = " x ".join(str(pixels) for pixels in features.shape[-2:])
            raise StudyError(f"protocol: `pool_px` is {pool_px}, but layer '{name}' has a map of {size} px: lower it")
        # Pooled in float32: bfloat16 would round a mean that thousands of pixels made precise.
        return F.adaptive_avg_pool2d(features.float(), pool_px).flatten(1)

    return _in_batches(encoder, forward, images, mean, std, compute, batch_size)


def _in_batches(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    images: Images,
    mean: Statistics,
    std: Statistics,
    compute: Compute,
    batch_size: int,
) -> Tensor:
    compute.place(model).eval()
    normalize = normalizer(mean, std, compute.device)
    with torch.no_grad(), compute.autocast():
        return torch.cat([forward(normalize(batch)).float() for batch in in_slices(images, batch_size)])


def with_labels(split: Split, what: str) -> Split:
    """The images of a split whose label is known.

    Raises:
        DataError: If there are none; `what` names the split.
    """
    known = split.labels >= 0
    if not known.any():
        raise DataError(f"{what} has no labelled images, so there is nothing to score: choose another dataset")
    return split.subset(known.nonzero().flatten())


def percent(correct: Tensor) -> float:
    """The share of true entries, in percent; (…) bool, at least one."""
    return 100.0 * correct.double().mean().item()


def library_threads() -> AbstractContextManager[Any]:
    """Keeps the threads of scikit-learn and of BLAS to torch's: a job takes no more than it was given.

    The sums of a threaded loop depend on the number of threads, so this also makes their results repeat.
    """
    limits: AbstractContextManager[Any] = threadpool_limits(torch.get_num_threads())
    return limits
