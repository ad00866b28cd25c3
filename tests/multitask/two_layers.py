"""A step of three tasks over an encoder of two layers, small enough to write its gradients out."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tessera.multitask.step import Cut, Step, TaskLoss

TASKS = ("a", "b", "c")


class TwoLayers(Step):
    """An encoder of two layers and a head a task, of one input or of one a task; all in float64."""

    def __init__(self, shared_input: bool, tasks: tuple[str, ...] = TASKS, *, outside: bool = False) -> None:
        self.tasks, self.one_graph, self.outside = tasks, shared_input, outside
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
        self.heads = {task: nn.Linear(3, 1).double() for task in tasks}
        inputs = {task: torch.randn(6, 4, dtype=torch.float64) for task in tasks}
        self.inputs = dict.fromkeys(tasks, inputs[tasks[0]]) if shared_input else inputs

    @property
    def shared(self) -> list[nn.Parameter]:
        return [*self.first.parameters(), *self.last.parameters()]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [*self.shared, *(parameter for head in self.heads.values() for parameter in head.parameters())]

    @property
    def last_layer(self) -> list[nn.Parameter]:
        return list(self.last.parameters())

    def encode(self, task: str) -> Tensor:
        z: Tensor = self.last(self.first(self.inputs[task]).tanh())
        return z

    def task_loss(self, task: str, z: Tensor) -> TaskLoss:
        number = TASKS.index(task) + 1
        loss = (self.heads[task](z.tanh()) - number).square().mean()
        return TaskLoss(task, loss, z.pow(4).mean() * number if self.outside else None)

    def losses(self) -> Iterator[TaskLoss]:
        z = self.encode(self.tasks[0]) if self.one_graph else None
        for task in self.tasks:
            yield self.task_loss(task, self.encode(task) if z is None else z)

    def cut(self) -> Cut:
        z = self.encode(self.tasks[0])
        leaf = z.detach().requires_grad_()
        return Cut(z, leaf, (self.task_loss(task, leaf) for task in self.tasks))
