"""Balancings that draw random numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options.base import BalancingOptions
from tessera.training.randomness import seed_of


class Drawn(Balancing):
    """Draws numbers of its own in each step, by the seed under which it was built and by how often it has drawn.

    Both are in its state, so that a resumed training draws what one does that was never interrupted.
    """

    def __init__(self, options: BalancingOptions, tasks: Sequence[str]) -> None:
        super().__init__(options, tasks)
        self._seed, self._draws = torch.initial_seed(), 0

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Within it torch's own numbers on the CPU are those of the next draw; what others draw stays as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(self._seed, self._draws))
            self._draws += 1
            yield

    def get_extra_state(self) -> dict[str, int]:
        return {"seed": self._seed, "draws": self._draws}

    def set_extra_state(self, state: Any) -> None:
        self._seed, self._draws = int(state["seed"]), int(state["draws"])
