"""Encoder, heads and tasks of one training: their batches, losses, steps and held-out figures."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from tessera import registry
from tessera.data.images import image_batches
from tessera.data.store import Dataset
from tessera.models.encoders.base import Encoder
from tessera.multitask.balancing.base import Balancing
from tessera.multitask.feeds import Feed, Feeds, SharedFeed, gray, unchanged
from tessera.multitask.gradients import looks_of
from tessera.multitask.records import Record
from tessera.multitask.regularizers.base import Pass, Regularizer
from tessera.multitask.schedule.base import Turn
from tessera.multitask.sharing.base import Sharing
from tessera.multitask.source import Source
from tessera.multitask.step import OwnInputs, SharedInput, Step, channels_last
from tessera.multitask.task_network import head_key
from tessera.multitask.validation import draw_held_out
from tessera.tasks.base import ImageStatistics, Task, TaskBatch
from tessera.training.compiled import Planned
from tessera.training.compute import Compute
from tessera.training.learning_rate import learning_rate_at
from tessera.training.randomness import generator_of, index_batches, seed_of
from tessera.training.steps import run_steps

MapsBy = Callable[[Encoder], Mapping[str, Tensor]]


class Learner:
    """Everything that learns, built from the source's parts.

    Args:
        source: The source, every option resolved.
        dataset: Its images.
        labels: What each task's `prepare` made, by the task's name.
        compute: Where and how precisely to compute.
        trial: Seeds the initial weights; those of a head depend on no other task.

    Attributes:
        names: What the tasks are called, in history and tables as in here (`TaskOptions.key`).
        called: Gives what steps call in place of an encoder, such as the same with compiled passes; held-out figures
            call the encoder itself.
        held_out: The images that are validated on.
        held_out_batch: How many of them are in a batch: as many as in training, where there are as many.
    """

    def __init__(
        self, source: Source, dataset: Dataset, labels: Mapping[str, Mapping[str, Tensor]], compute: Compute, trial: int
    ) -> None:
        self.source, self.compute, self.trial = source, compute, trial
        self.called: Callable[[Encoder], Encoder] = lambda encoder: encoder
        options = {part.key: part for part in source.tasks}
        self.names = list(options)
        self.drawn_by = {name: part.drawn_by for name, part in options.items()}
        self.held_out = draw_held_out(dataset.test).to(compute.device)
        self.held_out_batch = min(source.batch_size, len(self.held_out))
        self.statistics = ImageStatistics.of(dataset, self.held_out_batch)
        self.tasks: dict[str, Task] = {
            name: registry.load("task", part.name)(
                part.at(dataset.image_size), self.statistics, labels.get(part.name, {}), compute.device
            )
            for name, part in options.items()
        }
        self.split = dataset.source_split().to(compute.device)
        labelled = dataset.train.to(compute.device)  # supervised tasks have no use for unlabelled images
        self.splits = {name: self.split if part.reads is None else labelled for name, part in options.items()}
        self.shows = {
            name: gray if source.harmonize and not part.needs_color else unchanged for name, part in options.items()
        }
        self.chance = {
            f"{name}.chance_{figure}": value
            for name, task in self.tasks.items()
            for figure, value in task.chance().items()
        }

        def build(family: str, options: Any, *arguments: Any) -> Any:
            part = registry.load(family, options.name)
            return compute.place(_seeded(lambda: part(options, *arguments), trial, family))

        self.encoder: Encoder = build("encoder", source.encoder)
        num_features = self.encoder.num_features
        self.heads = nn.ModuleDict(
            {
                head_key(name): _seeded(partial(task.build_head, num_features), trial, "head", self.drawn_by[name])
                for name, task in self.tasks.items()
            }
        )
        compute.place(self.heads)
        self.sharing: Sharing = build("sharing", source.sharing, self.encoder, self.names, self._fresh_encoders())
        self.balancing: Balancing = build("balancing", source.balancing, self.names)
        self.regularizer: Regularizer = build(
            "regularizer", source.regularizer, num_features, {name: self._fresh_heads(name) for name in self.names}
        )

    def modules(self, names: Sequence[str]) -> list[nn.Module]:
        """What is trained by steps of these tasks."""
        return [module for modules, _ in self.groups(names) for module in modules]

    def groups(self, names: Sequence[str]) -> list[tuple[list[nn.Module], float]]:
        """The same, as groups of the optimiser: each with the factor on its learning rate."""
        heads = [self.head(name) for name in names]
        return [
            ([self.encoder, *heads, self.regularizer], 1.0),
            *self.balancing.groups(),
            *self.sharing.groups(),
        ]

    @property
    def shared(self) -> list[nn.Parameter]:
        """The parameters that the tasks share, the encoder's first: whose gradients a balancing weighs."""
        parameters = [*self.encoder.parameters(), *self.sharing.shared_parameters()]
        return [parameter for parameter in parameters if parameter.requires_grad]

    def head(self, name: str) -> nn.Module:
        """The head of a task."""
        return self.heads[head_key(name)]

    def feeds(self, epoch: int, turns: Sequence[Turn]) -> Feeds:
        """The batches of every task in an epoch; of tasks that share their inputs, one feed for all."""
        return Feeds(partial(self._feeds, epoch, turns))

    def _feeds(self, epoch: int, turns: Sequence[Turn], *words: str) -> dict[str, Any]:
        if any(turn.shared for turn in turns):
            batches = sum(turn.batches for turn in turns)
            # The labelled images alone, where one of the tasks reads labels.
            split = next((self.splits[name] for name in self.names if self.splits[name] is not self.split), self.split)
            shared = SharedFeed(self.tasks, split, self.source.batch_size, batches, self.trial, epoch, *words)
            return dict.fromkeys(self.names, shared)
        return {
            name: Feed(
                task, self.splits[name], self.source.batch_size, sum(turn.count(name) for turn in turns),
                self.trial, epoch, self.drawn_by[name], *words, show=self.shows[name],
            )
            for name, task in self.tasks.items()
        }  # fmt: skip

    def planned(self, turns: Sequence[Turn]) -> list[Planned]:
        """The encoder's passes in all epochs, by the shape of their inputs, if every epoch has such turns."""
        shared = any(turn.shared for turn in turns)
        found: dict[torch.Size, Planned] = {}
        for name, feed in self.feeds(0, turns).items():
            batches = sum(turn.batches if shared else turn.count(name) for turn in turns)
            if batches == 0:
                continue
            batch = next(feed)
            inputs = channels_last((batch[name] if shared else batch).inputs)
            before = found[inputs.shape].number if inputs.shape in found else 0
            found[inputs.shape] = Planned(inputs, before + batches * self.source.epochs)
            if shared:  # one pass for all
                break
        return list(found.values())

    def take(
        self,
        turn: Turn,
        epoch: int,
        feeds: Feeds,
        records: Mapping[str, list[Record]],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Trains one turn, and adds what each batch of a task gave to its records, on the device."""
        for module in self.modules(self.names):
            module.train()
        # Dropout draws from the global generator: seeded here, it depends on no other turn.
        torch.manual_seed(seed_of(self.trial, "dropout", epoch, *map(self.drawn_by.__getitem__, turn.tasks)))

        def backward(tasks: tuple[str, ...]) -> Tensor:
            self.leave_gradients(self.step(turn, tasks, records, feeds), optimizer)
            return torch.stack([records[name][-1]["loss"] for name in tasks]).sum()

        run_steps(turn.steps, backward, optimizer, self._learning_rates(turn, epoch), self.source.optimizer.clip_norm)

    def leave_gradients(self, step: Step, optimizer: torch.optim.Optimizer) -> None:
        """Leaves in `.grad` what the optimiser is to be given for a step, as balancing and regularizer make it."""
        self.regularizer.look_ahead(step, optimizer)
        made = self.balancing.options.looks_ahead and self.balancing.look_ahead(step, optimizer)
        again = self.regularizer.options.looks_twice
        self.regularizer.around(looks_of(step, self.balancing, self.shared, again=again, made=made), step.parameters)

    def step(self, turn: Turn, tasks: Sequence[str], records: Mapping[str, list[Record]], feeds: Feeds) -> Step:
        """A step of the turn: of the next batch of each task, or the next one that they share."""

        def of(some: Sequence[str], feeds: Mapping[str, Any], records: Any, another: Any = None) -> Step:
            if turn.shared:
                return SharedInput(self, some, records, next(feeds[some[0]]), another)
            return OwnInputs(self, some, records, feeds, another)

        return of(tasks, feeds, records, lambda some: of(some, feeds.others, None))

    def predict(self, batches: Mapping[str, TaskBatch]) -> dict[str, Any]:
        """Predictions of tasks whose batches have the same inputs, by one pass of the encoder."""
        names = list(batches)
        inputs = channels_last(batches[names[0]].inputs)
        with self.compute.autocast():
            maps = self.sharing.maps(self.encoder, inputs, names)
        return {name: self.answer(name, maps)[1] for name in names}

    def maps(self, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """One pass of a step: what the heads of these tasks need."""
        with self.compute.autocast():
            return self.maps_by(self.encoder, inputs, names)

    def maps_by(self, encoder: Encoder, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """The same by this encoder, the learner's own or an earlier copy, in its caller's precision."""
        return self.sharing.maps(self.called(encoder), inputs, names)

    def answer(self, name: str, maps: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        """What a task's head reads of the maps of one pass, and its prediction."""
        with self.compute.autocast():
            features = self.sharing.features(name, maps)
            return features, self.head(name)(features)

    def seen(self, name: str, batch: TaskBatch, features: Tensor, loss: Tensor, maps_by: MapsBy) -> Pass:
        """A task's pass as its regularizer may look at it; `maps_by` gives another encoder's maps of its inputs."""

        def loss_by(head: Callable[[Tensor], Any], features: Tensor) -> Tensor:
            prediction = head(features)
            with torch.autocast(self.compute.device.type, enabled=False):
                return self.tasks[name].loss(prediction, batch.labels)

        by_encoder = lambda other: self.sharing.features(name, maps_by(other))  # noqa: E731
        return Pass(name, batch, features, loss, by_encoder, loss_by)

    def penalty(self, seen: Pass) -> Tensor | None:
        """What the regularizer adds, in training mode."""
        if not self.regularizer.training:
            return None
        with self.compute.autocast():
            return self.regularizer(seen)  # type: ignore[no-any-return]

    def _fresh_encoders(self) -> Callable[[], Encoder]:
        """Builds encoders of the kind; the weights of each are its own."""
        build, numbers = partial(registry.load("encoder", self.source.encoder.name), self.source.encoder), count()
        return lambda: _seeded(build, self.trial, "further encoder", next(numbers))

    def _fresh_heads(self, name: str) -> Callable[[], nn.Module]:
        """Builds heads as the task's own is built; their weights depend on no other task, as its do."""
        task, drawn_by, numbers = self.tasks[name], self.drawn_by[name], count()
        build = partial(task.build_head, self.encoder.num_features)
        return lambda: _seeded(build, self.trial, "further head", drawn_by, next(numbers))

    def plain_batches(self) -> Iterable[Tensor]:
        """Normalised source images without augmentation, for batch-norm statistics."""
        mean, std = (
            torch.tensor(value, device=self.compute.device).view(1, 3, 1, 1)
            for value in (self.statistics.mean, self.statistics.std)
        )
        indices = index_batches(
            len(self.split), self.source.batch_size, self.source.statistics_batches,
            generator_of(self.trial, "statistics"),
        )  # fmt: skip
        for images in image_batches(self.split.images, indices):
            pixels = (images.float() / 255 - mean) / std
            yield pixels.contiguous(memory_format=torch.channels_last)

    def _learning_rates(self, turn: Turn, epoch: int) -> Iterator[float]:
        for step in range(len(turn.steps)):
            part = turn.begin + (turn.end - turn.begin) * step / len(turn.steps)
            yield learning_rate_at(self.source.optimizer, epoch + part, self.source.epochs)


def _seeded(build: Callable[[], Any], *words: int | str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(*words))
        return build()
