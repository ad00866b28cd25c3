"""The source of a study: images, an encoder, and the tasks and parts that train it. Torch-free."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tessera.data.datasets.options.base import DatasetPart
from tessera.models.encoders.options import EncoderPart, ResNet26Options
from tessera.models.weights import WeightsField
from tessera.multitask.balancing.options.base import BalancingPart
from tessera.multitask.balancing.options.losses import EqualOptions
from tessera.multitask.fusion.options import FusionPart, NoFusionOptions
from tessera.multitask.regularizers.options import NoRegularizerOptions, RegularizerPart
from tessera.multitask.schedule.options import JointOptions, SchedulePart
from tessera.multitask.sharing.options import HardSharingOptions, SharingPart
from tessera.multitask.snapshots import SnapshotsField
from tessera.registry import LATE, Checked
from tessera.tasks.options.base import TaskPart
from tessera.training.options import OptimizerOptions


def _listed(value: Any) -> Any:
    if isinstance(value, str | dict):
        raise ValueError("should be a list of tasks, as in `[jigsaw, colorization]`")
    return value


class Source(Checked):
    """The source: images without labels, an encoder, and the tasks that train it."""

    dataset: DatasetPart = Field(description="Images that the encoder learns from.")
    encoder: EncoderPart = Field(ResNet26Options(), description="The network that is learned.")
    tasks: Annotated[tuple[TaskPart, ...], BeforeValidator(_listed)] = Field((), description="Tasks, trained together.")
    sharing: SharingPart = Field(HardSharingOptions(), description="How the tasks share the encoder.")
    schedule: SchedulePart = Field(JointOptions(), description="In which order the tasks take steps.")
    balancing: BalancingPart = Field(EqualOptions(), description="How losses are weighed.")
    regularizer: RegularizerPart = Field(NoRegularizerOptions(), description="What keeps the features steady.")
    fusion: FusionPart = Field(NoFusionOptions(), description="How the tasks' weights become one encoder.")
    harmonize: bool = Field(
        False, description="Show gray images to the tasks that do not predict colours, in training and validation."
    )
    epochs: int = Field(50, ge=0, description="Epochs; 0 leaves the encoder untrained.")
    iterations: int = Field(2_000, ge=1, description="Task batches an epoch (see `schedule.iterations_scope`).")
    batch_size: int = Field(64, ge=2, description="Images a batch.")
    optimizer: OptimizerOptions = Field(OptimizerOptions(), description="Optimiser of encoder and heads.")
    statistics_batches: int = Field(
        200, ge=1, description="Plain batches from which batch-norm statistics are re-estimated in the end."
    )

    keep_state: Annotated[bool | None, LATE] = Field(
        None,
        description="Keep the training's state where its end begins, so that a longer training goes on from there: "
        "about three times the size of the encoder, with its snapshots and the fusion's window beside. null: wherever "
        "the learning rate before does not depend on the end (`optimizer.schedule` is `wsd`, or `constant` without "
        "`warmup`). In no key.",
    )
    weights: Annotated[WeightsField, LATE] = Field(
        None,
        description="A file of weights that the encoder takes over, of method `pretrained`: its path, or more of it.",
    )
    snapshots: Annotated[SnapshotsField, LATE] = Field(
        None,
        description="Epochs at whose end the encoder is kept as it would be handed on, for `target.at`: `{every: 5}`, "
        "or a list such as `[1, 2, 5]`. The training is the same with and without.",
    )

    @property
    def has_classifier(self) -> bool:
        """Whether it ends with a classifier of its dataset's classes."""
        if self.weights is not None:
            return self.weights.classifier
        return any(task.column == "class" for task in self.tasks)

    @property
    def snapshot_epochs(self) -> tuple[int, ...]:
        """The epochs before the last at whose end the encoder is kept, ascending."""
        return () if self.snapshots is None else self.snapshots.before(self.epochs)

    @property
    def unmoved_epochs(self) -> int:
        """Epochs at the beginning that are the same in a longer training: after them its state is kept."""
        return self.optimizer.unmoved_epochs(self.epochs)

    def clashes(self, whole: Any) -> Iterator[str]:
        names = [task.key for task in self.tasks]
        if len(set(names)) < len(names):
            yield f"tasks names a task twice: {', '.join(names)}"
        if self.epochs > 0 and self.weights is not None:
            yield (
                f"weights is a trained encoder's file, but epochs is {self.epochs}, and nothing trains on from it: set "
                "weights only where source.method is `pretrained`"
            )
        if self.epochs > 0 and self.snapshots is not None and (late := self.snapshots.after(self.epochs)) is not None:
            yield (
                f"snapshots: {late}, but the training ends after epoch {self.epochs} (`source.epochs`): choose epochs "
                "up to it, at this scale under `at_scale`, or raise source.epochs"
            )
        if self.epochs > 0 and not names:
            yield "tasks is empty: name at least one, or use method `random` for an untrained encoder"
        if self.epochs > 0 and (why := self.optimizer.too_long_for(self.epochs)):
            yield f"{why}, or raise source.epochs"
        if self.keep_state and self.epochs == 0:
            yield "keep_state is true, but epochs is 0, so that nothing is trained: leave it out"
        elif self.keep_state and not self.unmoved_epochs:
            yield (
                f"keep_state is true, but no epoch of this training is the same in a longer one: set "
                f"optimizer.schedule (now `{self.optimizer.schedule}`) to `constant` or `wsd`, and optimizer.warmup "
                f"(now {self.optimizer.warmup:g}) to 0; optimizer.warmup_epochs warms up"
            )
