"""What every dataset is: it reads images and labels from their origin, once."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RawDataset:
    """Images as read.

    Attributes:
        splits: Name (`train`, `test`, maybe `unlabeled`) to the rows of the split, in its order; disjoint.
        classes: Names of the classes, by label.
        skipped: What was passed over, each with its reason.

    Shape:
        images: (N, S, S, 3) uint8.
        labels: (N,) int64, class indices; -1 where there is none.
        splits[name]: (M,) int64.
    """

    images: np.ndarray
    labels: np.ndarray
    splits: Mapping[str, np.ndarray]
    classes: list[str]
    skipped: tuple[str, ...] = ()


class DatasetReader(ABC):
    """One dataset.

    Args:
        options: What the study set.
    """

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def read(self, data_root: Path) -> RawDataset:
        """Reads the dataset; the same options give the same images in the same order.

        Args:
            data_root: Folder under which datasets lie.

        Raises:
            DataError: If something is missing, damaged or unfit.
        """
