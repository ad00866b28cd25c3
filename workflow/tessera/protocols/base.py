"""What every measurement shares, whichever family it is of: its interface, and what it found."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tessera.data.normalization import Normalization
from tessera.data.store import label_subset, load_dataset
from tessera.errors import DivergedError
from tessera.models.store import load_measured
from tessera.protocols.features import Features, Read
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of

CHANCE = "chance.json"  # what guessing gives, by figure, where that is not one in the number of classes


@dataclass(frozen=True)
class Evaluation:
    """What a protocol found.

    Attributes:
        metrics: Figures by name: those of the options' `figures` and no other, finite, or None where there is nothing
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


@dataclass(frozen=True)
class Measured:
    """What is measured: the frozen source encoder, or a trained network.

    Attributes:
        model: By the options' `measures`; on the device, in eval mode.
        normalization: Of the images that it was trained with.
    """

    model: Any
    normalization: Normalization


class Protocol(ABC):
    """How a target is measured.

    A protocol knows which kind of model and of dataset it reads: the stage asks it to load both, then for the images
    whose labels may be read, and gives it all back.

    Args:
        options: What the study set.

    Attributes:
        shared: Features that other protocols of this process read too; None where there are none.
    """

    def __init__(self, options: Any) -> None:
        self.options = options
        self.shared: Features | None = None

    def reads(self) -> Sequence[Read]:
        """What `evaluate` reads of a frozen encoder by `features`, so that one pass serves several protocols."""
        return ()

    def features(self, measured: Measured, compute: Compute) -> Features:
        """The model's features: `shared`, which other protocols read too, where it is of this model."""
        if self.shared is not None and self.shared.encoder is measured.model:
            return self.shared
        return Features(measured.model, measured.normalization, compute, self.reads())

    def model(self, folder: Path, device: torch.device) -> Measured:
        """What an artifact of the options' `measures` holds: here its network, or else its encoder.

        Raises:
            ArtifactError: If it is damaged, or of another kind.
        """
        return Measured(*load_measured(folder, device))

    def load(self, folder: Path, device: torch.device) -> Any:
        """The prepared dataset of a folder, as `evaluate` wants it: here a `Dataset` on the device.

        Raises:
            ArtifactError: If it is damaged, or of another kind.
        """
        return load_dataset(folder, device)

    def labeled(self, dataset: Any, fraction: float, trial: int) -> Any:
        """The training images whose labels may be read: here the `Split` that the same trial's transfer learns from.

        Where that is every image, it is the training split itself, whose images other label columns share.

        Args:
            dataset: What `load` gave.
            fraction: Share of each class, above 0, at most 1.
        """
        known = label_subset(dataset.train.labels, fraction, generator_of(trial, "labels"))
        return dataset.train if len(known) == len(dataset.train) else dataset.train.subset(known)

    @abstractmethod
    def evaluate(
        self,
        measured: Measured,
        dataset: Any,
        labeled: Any,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        """Measures a frozen encoder, or a trained network. Leaves the model as it is, in eval mode.

        Args:
            measured: What `model` gave, or any model of the kind that the protocol is for.
            dataset: What `load` gave.
            labeled: What `labeled` gave.
            trial: Its number seeds whatever is drawn.
            resume: Folder of this job's unfinished state; None keeps nothing.

        Raises:
            StudyError: If the options do not fit the model, such as a layer that it does not have.
            DataError: If there is nothing to measure, such as a test split without labels.
        """
