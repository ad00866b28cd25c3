"""What every measurement shares, whichever family it is of: its interface, and the features that it reads."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from tessera.errors import DataError, DivergedError, StudyError
from tessera.models.encoders.base import LayeredNetwork
from tessera.registry import suggest
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of

Statistics = tuple[float, float, float]
Read = tuple[str | None, int]  # a layer, None for the last; and the height and width to which its map is pooled


@dataclass(frozen=True)
class Evaluation:
    """What a protocol found.

    Attributes:
        metrics: Figures by name: those of the options' `metrics` and no other, finite, or None where there is nothing
            that they could be of. Shares are in percent.
        arrays: What to keep beside them: what was predicted, and what would have been right.
        history: Rows of a protocol that learns in turns, all with the same columns; empty for the others.
        files: What else to keep, by name below the artifact's folder.

    Raises:
        DivergedError: If a figure is not finite.
    """

    metrics: Mapping[str, float | None]
    arrays: dict[str, np.ndarray]
    history: list[dict[str, float]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if value is not None and not math.isfinite(value):
                raise DivergedError(f"`{name}` is {value}: the training of what is measured diverged.")


class Protocol(ABC):
    """How a target is measured.

    A protocol knows which kind of dataset it reads: the stage asks it to load the dataset, then for the images whose
    labels may be read, and gives it both back.

    Args:
        options: What the study set.

    Attributes:
        shared: Features that other protocols of this process read too; None where there are none.
    """

    def __init__(self, options: Any) -> None:
        self.options = options
        self.shared: Features | None = None

    def reads(self) -> Sequence["Read"]:
        """What `evaluate` reads of a frozen encoder by `features`, so that one pass serves several protocols."""
        return ()

    def features(self, model: Any, mean: Statistics, std: Statistics, compute: Compute) -> "Features":
        """The model's features: `shared`, which other protocols read too, where it is of this model."""
        if self.shared is not None and self.shared.encoder is model:
            return self.shared
        return Features(model, mean, std, compute, self.reads())

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


class Features:
    """What protocols read of a frozen encoder.

    Layers that are pooled to one pixel are small: the first that asks for one has all of them extracted in the same
    pass. Of larger ones only what was read last is kept.

    Args:
        mean, std: Input normalisation that the encoder was trained with, in units of [0, 1].
        expected: What will be read, as far as it is known.
    """

    def __init__(
        self,
        encoder: LayeredNetwork,
        mean: Statistics,
        std: Statistics,
        compute: Compute,
        expected: Iterable[Read] = (),
    ) -> None:
        self.encoder, self.mean, self.std, self.compute = encoder, mean, std, compute
        self.expected = tuple(dict.fromkeys(read for read in expected if read[1] == 1))
        self._labeled = list[tuple[Split, Split]]()  # a split, and its images that have a label
        self._small = dict[tuple[int, Read], Tensor]()
        self._large = dict[tuple[int, Read], Tensor]()

    def labeled(self, split: Split, what: str) -> Split:
        """The images of a split whose label is known: those that `read` reads.

        Raises:
            DataError: If there are none; `what` names the split.
        """
        for known, part in self._labeled:
            if known is split:
                return part
        part = with_labels(split, what)
        self._labeled.append((split, part))
        return part

    def read(self, part: Split, layer: str | None = None, pool_px: int = 1) -> Tensor:
        """Features of every image, to be left as they are: another protocol reads them too.

        Args:
            part: What `labeled` gave.

        Shape:
            returns: (N, C * pool_px * pool_px) float32, on the device.

        Raises:
            StudyError: If the encoder has no such layer, or its map is smaller than `pool_px`.
        """
        number = next(index for index, (_, known) in enumerate(self._labeled) if known is part)
        wanted, kept = (layer, pool_px), self._small if pool_px == 1 else self._large
        if (number, wanted) not in kept:
            reads = [wanted]
            if wanted in self.expected:
                there = self.encoder.layer_channels.keys() | self.encoder.inner_channels.keys()
                # A layer that is not there is told to the protocol that asks for it, not to this one.
                reads = [read for read in self.expected if read == wanted or read[0] is None or read[0] in there]
            if pool_px > 1 and any(read != wanted for _, read in kept):
                kept.clear()
            found = extract_layers(self.encoder, part.images, self.mean, self.std, self.compute, reads)
            kept.update({(number, read): found[index] for index, read in enumerate(reads)})
        return kept[number, wanted]


def normalizer(mean: Statistics, std: Statistics, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function from (N, 3, H, W) uint8 to the model's input, (N, 3, H, W) float32 in channels_last."""
    # Made once: a copy to the device in every step would wait for it.
    center, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))

    def normalize(images: Tensor) -> Tensor:
        return (to_unit(images.to(device).contiguous(memory_format=torch.channels_last)) - center) / scale

    return normalize


def predict(
    model: nn.Module, images: Images, mean: Statistics, std: Statistics, compute: Compute, batch_size: int | None = None
) -> Tensor:
    """The model's output for every image, in eval mode.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, …) float32, on the device.
    """
    outputs = _in_batches(model, lambda inputs: (model(inputs).float(),), images, mean, std, compute, batch_size)
    return torch.cat([output for (output,) in outputs])


def extract_features(
    encoder: LayeredNetwork,
    images: Images,
    mean: Statistics,
    std: Statistics,
    compute: Compute,
    layer: str | None = None,
    pool_px: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """The features that `extract_layers` gives, of one layer alone."""
    (features,) = extract_layers(encoder, images, mean, std, compute, [(layer, pool_px)], batch_size)
    return features


def extract_layers(
    encoder: LayeredNetwork,
    images: Images,
    mean: Statistics,
    std: Statistics,
    compute: Compute,
    reads: Sequence[Read],
    batch_size: int | None = None,
) -> list[Tensor]:
    """Features of every image, of several layers in one pass: a layer's map, average-pooled and flattened.

    Args:
        reads: Names of layers, None for the last; and height and width to which the map is pooled, at most its own.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, C * pool_px * pool_px) float32, on the device, for each of `reads`.

    Raises:
        StudyError: If the encoder has no such layer, or its map is smaller than `pool_px`.
    """
    last, known = list(encoder.layer_channels)[-1], [*encoder.layer_channels, *encoder.inner_channels]
    named = [(last if layer is None else layer, pool_px) for layer, pool_px in reads]
    for name, _ in named:
        if name not in known:
            raise StudyError(f"protocol: the encoder has no layer '{name}'. {suggest(name, known)}")

    def forward(inputs: Tensor) -> tuple[Tensor, ...]:
        maps = encoder.maps(inputs, dict.fromkeys(name for name, _ in named))
        return tuple(_pooled(maps[name], name, pool_px) for name, pool_px in named)

    batches = _in_batches(encoder, forward, images, mean, std, compute, batch_size)
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def _pooled(features: Tensor, name: str, pool_px: int) -> Tensor:
    if min(features.shape[-2:]) < pool_px:
        size = " x ".join(str(pixels) for pixels in features.shape[-2:])
        raise StudyError(f"protocol: `pool_px` is {pool_px}, but layer '{name}' has a map of {size} px: lower it")
    # Pooled in float32: bfloat16 would round a mean that thousands of pixels made precise.
    return F.adaptive_avg_pool2d(features.float(), pool_px).flatten(1)


def _in_batches(
    model: nn.Module,
    forward: Callable[[Tensor], tuple[Tensor, ...]],
    images: Images,
    mean: Statistics,
    std: Statistics,
    compute: Compute,
    batch_size: int | None,
) -> list[tuple[Tensor, ...]]:
    # On a processor the maps of a small batch stay in its caches, which a third of the time depends on.
    batch_size = batch_size or (64 if compute.device.type == "cpu" else 500)
    compute.place(model).eval()
    normalize = normalizer(mean, std, compute.device)
    with torch.no_grad(), compute.autocast():
        batches = [forward(normalize(batch)) for batch in in_slices(images, batch_size)]
    # What is no number is neither near nor likely, and would pass for a figure at chance.
    if batches and not torch.stack([part.isfinite().all() for parts in batches for part in parts]).all():
        raise DivergedError("what is measured gives answers that are not finite: its training diverged.")
    return batches


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
