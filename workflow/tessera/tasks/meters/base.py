"""Meters: figures of a task over many batches, which are those of all its images at once."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Meter(ABC):
    """What a task's predictions are worth, over all batches that were added."""

    @abstractmethod
    def add(self, prediction: Any, labels: Any) -> None:
        """Takes one batch in; nothing is read back from the device."""

    @abstractmethod
    def count(self) -> int:
        """How many labels were known."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """The figures that the options name, of one known label or more."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What to keep beside them, from which the figures can be computed again."""
