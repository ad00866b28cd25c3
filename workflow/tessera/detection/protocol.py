"""Detection: how well does the trained network find objects?"""

from pathlib import Path
from typing import Any

import torch

from tessera.measure import Evaluation, Protocol, Statistics
from tessera.training import Compute


class Detection(Protocol):
    """Mean average precision of the target network on the test split."""

    def load(self, folder: Path, device: torch.device) -> Any:
        raise NotImplementedError

    def labeled(self, dataset: Any, fraction: float, trial: int) -> None:
        """Nothing: the network has learned already, and no other label is read."""

    def evaluate(
        self,
        model: Any,
        mean: Statistics,
        std: Statistics,
        dataset: Any,
        labeled: None,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        raise NotImplementedError
