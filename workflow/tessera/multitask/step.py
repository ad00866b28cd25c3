"""What one step of a pretraining may be asked: the losses of its tasks, of batches that are drawn once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.multitask.records import Record
from tessera.multitask.regularizers.base import Pass
from tessera.tasks.base import TaskBatch

if TYPE_CHECKING:
    from tessera.multitask.learner import Learner, MapsBy

METRICS_EVERY = 10  # training batches of a task: some metrics cost as much as a forward pass


class TaskLoss(NamedTuple):
    """One task's part of a step.

    Attributes:
        loss: (), float32: the task's, with what sharing and regularizer add to it.
        outside: (), float32, of the same graph: what is added after weighing; None where nothing is.
    """

    task: str
    loss: Tensor
    outside: Tensor | None = None


class Cut(NamedTuple):
    """A step whose graph is cut between encoder and heads.

    Attributes:
        z: The encoder's map, of its graph.
        leaf: The same values, from which the losses go on.
        losses: Of the leaf alone.
    """

    z: Tensor
    leaf: Tensor
    losses: Iterator[TaskLoss]


class Step(ABC):
    """A step. Its batches are drawn once, so that it can be looked at again; the first look is recorded.

    Args:
        tasks: Names, in the study's order.
        records: Of each task; what its batch gave is added, on the device. None: nothing is recorded, and the losses
            are the tasks' alone, to which neither sharing nor regularizer adds anything.
        another: Gives a step of other batches, of these tasks.

    Attributes:
        one_graph: Whether the losses share a forward pass of the encoder.
    """

    one_graph: bool = False

    def __init__(
        self,
        learner: "Learner",
        tasks: Sequence[str],
        records: Mapping[str, list[Record]] | None,
        another: Callable[[Sequence[str]], "Step"] | None = None,
    ) -> None:
        self.learner, self.tasks, self.records = learner, tuple(tasks), records
        self._recorded, self._another = set[str](), another

    @abstractmethod
    def losses(self) -> Iterator[TaskLoss]:
        """The tasks' losses, one after the other, computed anew at each call by the weights as they are."""

    def cut(self) -> Cut:
        """Losses that end at the encoder's map: of steps with one graph, under sharing with one map.

        Raises:
            ValueError: If there is no such map.
        """
        raise ValueError("the tasks of this step have no map of the encoder in common")

    def another(self, tasks: Sequence[str] | None = None) -> "Step":
        """Other batches of the same tasks, or of some of them; the losses are the tasks' alone, and not recorded.

        To be asked for once a step. They come from feeds of their own: the training's batches are the same whether
        others are asked for or not.

        Raises:
            ValueError: If there are none.
        """
        if self._another is None:
            raise ValueError("this step knows of no other batches")
        return self._another(self.tasks if tasks is None else tasks)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that this step trains."""
        return [p for module in self.learner.modules(self.tasks) for p in module.parameters() if p.requires_grad]

    @property
    def last_layer(self) -> list[nn.Parameter]:
        """Those of the last layer that the tasks share."""
        layers = self.learner.sharing.last_layers(self.learner.encoder)
        return [parameter for layer in layers for parameter in layer.parameters()]

    def _loss(self, name: str, batch: TaskBatch, maps: Mapping[str, Tensor], maps_by: "MapsBy") -> TaskLoss:
        learner, task = self.learner, self.learner.tasks[name]
        features, prediction = learner.answer(name, maps)
        loss = task.loss(prediction, batch.labels)
        if self.records is None:
            return TaskLoss(name, loss)
        seen = learner.seen(name, batch, features, loss, maps_by)
        penalty = learner.penalty(seen)
        if name not in self._recorded:
            self._record(seen, prediction, penalty)
        outside = None
        if penalty is not None and learner.regularizer.options.outside:
            outside, penalty = penalty if penalty.requires_grad else None, None  # a constant cannot be passed back
        for added in (penalty, learner.sharing.penalty(name)):
            loss = loss if added is None else loss + added
        return TaskLoss(name, loss, outside)

    @torch.no_grad()
    def _record(self, seen: Pass, prediction: Any, penalty: Tensor | None) -> None:
        assert self.records is not None
        self._recorded.add(seen.task)
        records, record = self.records[seen.task], {"loss": seen.loss.detach()}
        if len(records) % METRICS_EVERY == 0:
            record |= self.learner.tasks[seen.task].metrics(prediction, seen.batch.labels)
        if penalty is not None:
            record |= {"regularizer": penalty.detach(), **self.learner.regularizer.figures(seen)}
        records.append(record)


class OwnInputs(Step):
    """A batch of inputs a task; one task's graph is alive at a time.

    Args:
        feeds: The next batch of each task.
    """

    def __init__(
        self,
        learner: "Learner",
        tasks: Sequence[str],
        records: Mapping[str, list[Record]] | None,
        feeds: Mapping[str, Iterator[TaskBatch]],
        another: Callable[[Sequence[str]], Step] | None = None,
    ) -> None:
        super().__init__(learner, tasks, records, another)
        self._feeds, self._batches = feeds, dict[str, TaskBatch]()

    def losses(self) -> Iterator[TaskLoss]:
        for name in self.tasks:
            if name not in self._batches:
                self._batches[name] = next(self._feeds[name])
            inputs = channels_last(self._batches[name].inputs)
            maps_by = partial(self.learner.maps_by, inputs=inputs, names=[name])
            yield self._loss(name, self._batches[name], self.learner.maps(inputs, [name]), maps_by)


class SharedInput(Step):
    """One batch of views, which the encoder sees once; every task's head answers for it.

    Args:
        batches: Of each task, all with the same inputs.
    """

    one_graph = True

    def __init__(
        self,
        learner: "Learner",
        tasks: Sequence[str],
        records: Mapping[str, list[Record]] | None,
        batches: Mapping[str, TaskBatch],
        another: Callable[[Sequence[str]], Step] | None = None,
    ) -> None:
        super().__init__(learner, tasks, records, another)
        self._batches = batches
        self._inputs = channels_last(batches[self.tasks[0]].inputs)

    def losses(self) -> Iterator[TaskLoss]:
        return self._of(self.learner.maps(self._inputs, self.tasks))

    def cut(self) -> Cut:
        maps = self.learner.maps(self._inputs, self.tasks)
        if len(maps) > 1:
            return super().cut()
        ((name, z),) = maps.items()
        leaf = z.detach().requires_grad_()
        return Cut(z, leaf, self._of({name: leaf}))

    def _of(self, maps: Mapping[str, Tensor]) -> Iterator[TaskLoss]:
        seen: dict[tuple[Encoder, bool], dict[str, Tensor]] = {}

        def maps_by(encoder: Encoder) -> dict[str, Tensor]:
            """Once for all heads, as the pass of the encoder itself."""
            key = (encoder, torch.is_grad_enabled())
            if key not in seen:
                seen[key] = self.learner.maps_by(encoder, self._inputs, self.tasks)
            return seen[key]

        for name in self.tasks:
            yield self._loss(name, self._batches[name], maps, maps_by)


def channels_last(inputs: Tensor) -> Tensor:
    """The inputs as convolutions want them in memory."""
    return inputs.contiguous(memory_format=torch.channels_last)
