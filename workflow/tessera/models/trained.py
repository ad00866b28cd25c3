"""What the training of a target's network leaves."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from tessera.models.store import NetworkAbout


@dataclass(frozen=True)
class Trained:
    """What the training of a target's network leaves.

    Attributes:
        network: In eval mode.
        about: What rebuilds it.
        history: One row an epoch: epoch, loss, what the training adds, learning_rate, seconds; empty where nothing
            was trained.
        metrics: Figures of the last epoch, if there was one, and what else was found; accuracies in percent.
    """

    network: nn.Module
    about: NetworkAbout
    history: list[dict[str, Any]]
    metrics: dict[str, float]
