"""What every protocol is."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from torch import nn

from tessera.data.store import Dataset, Split
from tessera.training import Compute


class Protocol(ABC):
    """How a target is measured.

    Args:
        options: What the study set.
    """

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def evaluate(
        self,
        model: nn.Module,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        dataset: Dataset,
        labeled: Split,
        compute: Compute,
        trial: int,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Measures a frozen encoder, or a trained network, in eval mode.

        Args:
            mean, std: Input normalisation that the model was trained with, in units of [0, 1].
            labeled: The training images whose labels may be read.

        Returns:
            Figures by name, accuracies in percent; and arrays to keep: at least `labels` and `predictions`,
            (N,) int64 over the test split.
        """
