"""Encoder, sharing and heads of several tasks as one network: an image in, every task's answer out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.multitask.sharing.base import Sharing


def head_key(task: str) -> str:
    """Key of a task's head among the heads: what the task is called, which may hold a dot; a module's name may not."""
    return task.replace(".", ":")


class TaskNetwork(nn.Module):
    """What several tasks were trained to answer, of the same images.

    Args:
        heads: By task.

    Shape:
        inputs: (N, 3, h, w) float32, normalised.
        returns: Each task's prediction, as its head gives it.
    """

    def __init__(self, encoder: Encoder, sharing: Sharing, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder, self.sharing, self.tasks = encoder, sharing, tuple(heads)
        self.heads = nn.ModuleDict({head_key(task): head for task, head in heads.items()})

    def forward(self, inputs: Tensor) -> dict[str, Any]:
        maps = self.sharing.maps(self.encoder, inputs, self.tasks)
        return {task: self.heads[head_key(task)](self.sharing.features(task, maps)) for task in self.tasks}
