"""A step of three tasks on two linear layers, in float64, with or without a batch in common."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tessera.multitask.step import Step, TaskLoss

TASKS = ("a", "b", "c")


class ToyNetwork(nn.Module):
    """An encoder of two layers, and a linear head a task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
        self.heads = nn.ModuleDict({task: nn.Linear(3, 1).double() for task in TASKS})

    @property
    def shared(self) -> list[nn.Parameter]:
        return [*self.first.parameters(), *self.last.parameters()]

    def forward(self, task: str, inputs: Tensor) -> Tensor:
        """The task's loss."""
        number = TASKS.index(task) + 1
        z = self.last(self.first(inputs).tanh())
        return (self.heads[task](z.tanh()) * number - inputs[:, :1] * (2 - number)).square().mean()


class ToyStep(Step):
    """The tasks' losses of one batch, or of a batch each; another step has the batches after it."""

    def __init__(self, network: ToyNetwork, number: int, *, shared_input: bool = False, tasks: tuple[str, ...] = TASKS):
        self.network, self.number, self.tasks, self.one_graph = network, number, tasks, shared_input
        self.looks = 0

    def inputs(self, task: str) -> Tensor:
        word = 0 if self.one_graph else 1 + TASKS.index(task)
        return torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(10 * self.number + word))

    def losses(self) -> Iterator[TaskLoss]:
        self.looks += 1
        if self.one_graph:
            z = self.network.last(self.network.first(self.inputs("a")).tanh())
        for task in self.tasks:
            if not self.one_graph:
                yield TaskLoss(task, self.network(task, self.inputs(task)))
                continue
            number = TASKS.index(task) + 1
            target = self.inputs("a")[:, :1] * (2 - number)
            yield TaskLoss(task, (self.network.heads[task](z.tanh()) * number - target).square().mean())

    def another(self, tasks: object = None) -> "ToyStep":
        found = self.tasks if tasks is None else tuple(tasks)  # type: ignore[call-overload]
        return ToyStep(self.network, self.number + 1000, shared_input=self.one_graph, tasks=found)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    @property
    def last_layer(self) -> list[nn.Parameter]:
        return list(self.network.last.parameters())
