"""What a pretraining is between two epochs, one epoch of it, and what it leaves in the end."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tessera import registry
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset
from tessera.data.thumbnails import may_draw
from tessera.errors import DivergedError, StudyError, TesseraError
from tessera.models.encoders.base import Encoder
from tessera.multitask.batch_norm import reestimate_statistics
from tessera.multitask.fusion.base import Branch, Fused, Fusion
from tessera.multitask.fusion.states import State, copy_state
from tessera.multitask.history import Row, summary
from tessera.multitask.learner import Learner
from tessera.multitask.previews import make_previews
from tessera.multitask.records import Record, means
from tessera.multitask.schedule.base import Schedule, Turn
from tessera.multitask.sharing.base import Sharing
from tessera.multitask.snapshots import Snapshots
from tessera.multitask.source import Source
from tessera.multitask.store import save_trained
from tessera.multitask.task_network import TaskNetwork, head_key
from tessera.multitask.validation import validate
from tessera.states import Found
from tessera.tasks.base import Preview
from tessera.training.compiled import Compiled, chooses_compiled, works, worth_a_look
from tessera.training.compute import Compute
from tessera.training.learning_rate import learning_rate_at
from tessera.training.optimizer import load_optimizer, make_optimizer
from tessera.training.randomness import generator_of
from tessera.training.steps import check_course, cure

log = logging.getLogger("tessera")


@dataclass
class Pretrained:
    """What a pretraining leaves.

    Attributes:
        encoder: In evaluation mode, batch-norm statistics re-estimated on plain source images.
        heads: One a task, by `head_key`, as they were when the training ended, save that batch norms of supervised ones
            have statistics of plain images, too.
        sharing: How the tasks share the encoder, with what was trained of it; in evaluation mode.
        history: One row an epoch, the same flat keys in each.
        metrics: Figures of the last epoch, chance values, and figures of the whole training.
        previews: What each task sees and predicts of a few held-out images, by task; of people none.
        normalization: Of the images that trained it; None: of the source's.
        compiled: Whether its steps called a compiled encoder.
        views: Image views that the encoder was trained on, by epoch.
        snapshots: Of the source's `snapshot_epochs`; None where nothing was trained.
        extends: The state of another training that this one went on from: its folder (`state`), the `epochs` that were
            done in it, and the `seconds` that they took; None where it began anew.
    """

    encoder: Encoder
    heads: nn.ModuleDict
    sharing: Sharing
    history: list[Row]
    metrics: dict[str, float]
    previews: dict[str, Preview]
    normalization: Normalization | None = None
    compiled: bool = False
    views: Sequence[int] = ()
    snapshots: Snapshots | None = None
    extends: dict[str, Any] | None = None


class Training:
    """The state of a pretraining between two epochs, and one epoch of it."""

    def __init__(
        self,
        source: Source,
        dataset: Dataset,
        labels: Mapping[str, Mapping[str, Tensor]],
        compute: Compute,
        trial: int,
        snapshots: Snapshots | None = None,
    ) -> None:
        self.source, self.dataset, self.compute, self.trial = source, dataset, compute, trial
        self.snapshots = snapshots or Snapshots(None)
        self.draws = may_draw(dataset, "previews")
        self.schedule: Schedule = registry.load("schedule", source.schedule.name)(source.schedule)
        self.fusion: Fusion = registry.load("fusion", source.fusion.name)(source.fusion)
        self.learner = Learner(source, dataset, labels, compute, trial)
        self.history: list[Row] = []
        self.images: list[int] = []  # drawn in each epoch
        self.compiled = False
        self.views: list[int] = []  # that the encoder was trained on in each epoch
        self.extends: dict[str, Any] | None = None
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        self._optimizer_states: dict[str, Any] = {}

    def choose_passes(self) -> None:
        """Before the first step, decides whether its passes are compiled; later, makes them what they were."""
        learner, compute, begun = self.learner, self.compute, bool(self.history)
        if len(self.history) >= self.source.epochs:
            return
        turns = self._turns(0)
        if not begun:
            if compute.compile is True and not learner.sharing.calls_encoder:
                name = self.source.sharing.name
                log.info("compile: sharing `%s` takes the encoder apart, so nothing is compiled", name)
            passes = self.source.epochs * sum(turn.batches for turn in turns)
            if learner.sharing.calls_encoder and worth_a_look(compute, passes):
                self.compiled = chooses_compiled(learner.encoder, learner.planned(turns), compute)
        else:
            if compute.compile not in ("auto", self.compiled):
                log.info("compile: it goes on as it began, %s", "compiled" if self.compiled else "not compiled")
            if self.compiled and not works(learner.encoder, learner.planned(turns), compute):
                self.compiled = False
                log.warning("compile: it began compiled; what it ends with is not what it would have been")
        if self.compiled:
            learner.called = Compiled(compute)

    def epoch(self, epoch: int) -> Row:
        """Trains one epoch: all turns, then the fusion; returns its row of the history."""
        start = time.monotonic()
        learner, encoder, names = self.learner, self.learner.encoder, self.learner.names
        turns = self._turns(epoch)
        feeds = learner.feeds(epoch, turns)
        records: dict[str, list[Record]] = {name: [] for name in names}
        learner.regularizer.begin_epoch(encoder, epoch)
        previous = weights = copy_state(encoder)
        branches: list[Branch] = []
        before: dict[str, float] = {}  # held-out loss of each task at the end of its own branch
        for turn in turns:
            if turn.parallel:
                encoder.load_state_dict(previous)
                weights = previous
            try:
                learner.take(turn, epoch, feeds, records, self._optimizer(turn, turns))
            except DivergedError as error:
                where = f"in epoch {epoch + 1}, under balancing `{self.source.balancing.name}`"
                raise TesseraError(f"pretrain_source: {where}: {error} {error.cure or self._cure}") from error
            branches.append(Branch(turn.tasks, weights, copy_state(encoder), turn.parallel))
            weights = branches[-1].end
            if self.fusion.options.merges:
                validated = validate(learner, turn.tasks, metrics=False)
                before |= {name: figures["loss"] for name, figures in validated.items()}

        trained = {name: means(records[name]) for name in names}
        losses = {name: figures["loss"] for name, figures in trained.items()}
        self._check_finite(epoch, "loss", losses)
        learner.balancing.end_epoch(losses)
        fused = self._fuse(previous, branches, losses)
        validated = validate(learner, names)
        self._check_finite(epoch, "held-out loss", {name: figures["loss"] for name, figures in validated.items()})
        encoder.load_state_dict(self.fusion.next_start())
        self.images.append(self.source.batch_size * sum(turn.batches for turn in turns))
        self.views.append(feeds.views)
        self.history.append(self._row(epoch, turns, start, trained, validated, before, fused))
        return self.history[-1]

    def finish(self) -> Pretrained:
        """The exported encoder, with statistics of plain images, and what the training measured."""
        self._hand_on()
        learner = self.learner
        metrics = summary(self.history, self.images) | learner.chance
        if self.source.snapshot_epochs:
            metrics["image_views"] = sum(self.views)
        previews = make_previews(learner) if self.draws else {}
        return Pretrained(
            learner.encoder,
            learner.heads.eval(),
            learner.sharing.eval(),
            self.history,
            metrics,
            previews,
            compiled=self.compiled,
            extends=self.extends,
            views=self.views,
            snapshots=self.snapshots,
        )

    def save_snapshot(self, folder: Path) -> None:
        """Writes what would be handed on if the training ended here; it goes on as if nothing had been asked."""
        learner = self.learner
        parts = (learner.encoder, learner.heads, learner.sharing)
        before = [(part, copy_state(part)) for part in parts]
        modes = [(module, module.training) for part in parts for module in part.modules()]
        self._hand_on()
        # Heads of tasks without labels answer nothing that anyone asks later.
        kept = {head_key(task.key) for task in self.source.tasks if task.column is not None}
        heads = nn.ModuleDict({name: head for name, head in learner.heads.items() if name in kept})
        save_trained(self.source, self.dataset, learner.encoder, heads, learner.sharing, folder)
        for part, state in before:
            part.load_state_dict(state)
        for module, mode in modes:
            module.training = mode

    def _hand_on(self) -> None:
        """Brings encoder and supervised heads into the form in which they are handed on."""
        learner = self.learner
        if self.history:
            learner.encoder.load_state_dict(self.fusion.export())
        learner.sharing.export(learner.encoder)
        reestimate_statistics(learner.encoder, learner.plain_batches(), self.compute)
        # Those of supervised heads as well, which are measured on plain images too; they read the encoder as it now is.
        labelled = {name: learner.head(name) for name, task in learner.tasks.items() if task.options.reads is not None}
        if labelled:
            network = TaskNetwork(learner.encoder, learner.sharing, labelled)
            reestimate_statistics(network, learner.plain_batches(), self.compute, of=[learner.sharing, network.heads])

    @property
    def seconds(self) -> float:
        """What its epochs took, in whichever process they ran."""
        return sum(float(row["seconds"]) for row in self.history)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epochs depend on; random numbers need no state, as epochs seed their own."""
        learner = self.learner
        return {
            "encoder": learner.encoder.state_dict(),
            "heads": learner.heads.state_dict(),
            "sharing": learner.sharing.state_dict(),
            "balancing": learner.balancing.state_dict(),
            "regularizer": learner.regularizer.state_dict(),
            "fusion": self.fusion.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "history": self.history,
            "images": self.images,
            "views": self.views,
            "snapshots": self.snapshots.state_dict(),
            # Only where it is so: a state without a word of it was left by passes as they are written.
            **({"compiled": True} if self.compiled else {}),
            "extends": self.extends,
        }

    def extend(self, found: Found) -> None:
        """Goes on from the state of a shorter training, whose last epoch may have no snapshot: it is taken now."""
        self.load_state_dict(found.content, extends=True)
        if len(self.history) != found.epochs:
            raise ValueError(f"it is of {len(self.history)} epochs, not {found.epochs}")
        if self.compiled and self.compute.compile is False:
            raise ValueError("it began compiled, and `compile: false` is set")
        if found.epochs in self.source.snapshot_epochs:
            self.snapshots.keep(found.epochs, self.save_snapshot)
        self.extends = {"state": found.folder, "epochs": found.epochs, "seconds": round(self.seconds, 3)}

    def load_state_dict(self, state: Mapping[str, Any], *, extends: bool = False) -> None:
        """Goes on from such a state.

        Args:
            extends: It is that of a shorter training.

        Raises:
            Exception: Whatever comes of one that does not fit; this training is then to be thrown away.
        """
        learner, epochs = self.learner, self.source.epochs
        check_course(state["history"], epochs, ({"epoch": epoch + 1} for epoch in range(epochs)))
        self.history, self.images = list(state["history"]), [int(number) for number in state["images"]]
        self.compiled = "compiled" in state
        self.extends = state.get("extends")  # which a state of before has not
        if len(self.images) != len(self.history):
            raise ValueError(f"it counts the images of {len(self.images)} epochs of {len(self.history)}")
        self.views = [int(number) for number in state.get("views", ())]  # which a state of before has not
        if taken := self.source.snapshot_epochs:
            if len(self.views) != len(self.history):
                raise ValueError(f"it counts the views of {len(self.views)} epochs of {len(self.history)}")
            done = [epoch for epoch in taken if epoch <= len(self.history) - extends]
            self.snapshots.load_state_dict(state["snapshots"], done)
        self.fusion.load_state_dict(state["fusion"])
        learner.encoder.load_state_dict(self.fusion.export())  # whether the window's weights fit shows here, not later
        for name in ("encoder", "heads", "sharing", "balancing", "regularizer"):
            getattr(learner, name).load_state_dict(state[name])
        self._optimizer_states = dict(state["optimizers"])
        if (epoch := len(self.history)) < epochs:  # the same holds of the optimisers
            turns = self._turns(epoch)
            for turn in turns:
                if turn.optimizer is not None:
                    self._optimizer(turn, turns)

    def _turns(self, epoch: int) -> Sequence[Turn]:
        order = generator_of(self.trial, "order", epoch)
        return self.schedule.turns(self.learner.names, self.source.iterations, order)

    def _optimizer(self, turn: Turn, turns: Sequence[Turn]) -> torch.optim.Optimizer:
        """A fresh optimiser, or the one of this name, which covers the tasks of all turns that use it."""
        options = self.source.optimizer
        if turn.optimizer is None:
            return make_optimizer(options, *self.learner.groups(turn.tasks))
        if turn.optimizer not in self._optimizers:
            covered = {task for other in turns if other.optimizer == turn.optimizer for task in other.tasks}
            # In the study's order, so that a saved state fits whatever the epoch's order.
            tasks = [name for name in self.learner.names if name in covered]
            optimizer = make_optimizer(options, *self.learner.groups(tasks))
            if turn.optimizer in self._optimizer_states:
                load_optimizer(optimizer, self._optimizer_states.pop(turn.optimizer))
            self._optimizers[turn.optimizer] = optimizer
        return self._optimizers[turn.optimizer]

    def _fuse(self, previous: State, branches: Sequence[Branch], losses: Mapping[str, float]) -> Fused:
        try:
            fused = self.fusion.fuse(previous, branches, losses, self.learner.encoder)
        except DivergedError as error:
            raise TesseraError(f"{error} {self._cure}") from error
        except ValueError as error:
            raise StudyError(f"`source.fusion`: {error}") from error
        self.learner.encoder.load_state_dict(fused.state)
        return fused

    def _check_finite(self, epoch: int, figure: str, losses: Mapping[str, float]) -> None:
        for name, loss in losses.items():
            if not isfinite(loss):
                rate = learning_rate_at(self.source.optimizer, epoch + 0.5, self.source.epochs)
                raise TesseraError(
                    f"pretrain_source: the {figure} of task `{name}` is {loss} in epoch {epoch + 1}, at learning rate "
                    f"{rate:.4g}. {self._cure}"
                )

    @property
    def _cure(self) -> str:
        return cure(self.source.optimizer, "source")

    def _row(
        self,
        epoch: int,
        turns: Sequence[Turn],
        start: float,
        trained: Mapping[str, Mapping[str, float]],
        validated: Mapping[str, Mapping[str, float]],
        before: Mapping[str, float],
        fused: Fused,
    ) -> Row:
        row: Row = {
            "epoch": epoch + 1,
            "learning_rate": learning_rate_at(self.source.optimizer, epoch + 0.5, self.source.epochs),
            "seconds": time.monotonic() - start,
            "order": " > ".join(" + ".join(turn.tasks) for turn in turns),
        }
        for name in self.learner.names:
            row |= {f"{name}.{figure}": value for figure, value in trained[name].items()}
            row |= {f"{name}.validation_{figure}": value for figure, value in validated[name].items()}
            if name in before:
                row[f"{name}.fusion_jump"] = validated[name]["loss"] - before[name]
            if name in fused.impacts:
                row[f"{name}.impact"] = fused.impacts[name]
        weights = self.learner.balancing.figures()
        return row | self.learner.chance | self.learner.sharing.figures() | weights | fused.figures
