"""The source of a study: images, an encoder, and the tasks and parts that train it. Torch-free."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from tessera.data.datasets.options import DatasetPart
from tessera.models.encoders.options import EncoderPart, ResNet26Options
from tessera.multitask.balancing.options import BalancingPart, EqualOptions
from tessera.multitask.fusion.options import FusionPart, NoFusionOptions
from tessera.multitask.regularizers.options import NoRegularizerOptions, RegularizerPart
from tessera.multitask.schedule.options import JointOptions, SchedulePart
from tessera.multitask.sharing.options import HardSharingOptions, SharingPart
from tessera.registry import Checked
from tessera.study.detection import has_boxes
from tessera.tasks.options import TaskPart
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

    @model_validator(mode="after")
    def _fits_together(self) -> "Source":
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"tasks names a task twice: {', '.join(names)}")
        if self.epochs > 0 and not names:
            raise ValueError("tasks is empty: name at least one, or use method `random` for an untrained encoder")
        for index, task in enumerate(self.tasks):
            try:
                task.check_image_size(self.dataset.pixels())
            except ValueError as error:
                raise ValueError(f"tasks[{index}]: {error}") from None
            if task.uses_class_labels and has_boxes(self.dataset):
                raise ValueError(
                    f"tasks[{index}]: {task.name} learns the class of each image, but dataset `{self.dataset.name}` "
                    "has boxes instead: choose a dataset with classes, or tasks that make their own labels"
                )
            shown, least = task.shown_px(self.dataset.pixels()), getattr(self.encoder, "smallest_px", 1)
            if shown < least:
                raise ValueError(
                    f"tasks[{index}]: {task.name} shows encoder `{self.encoder.name}` {shown} px, but it needs {least} "
                    "px or more: raise the task's sizes, or choose another encoder"
                )
        if not names:
            return self
        if self.schedule.branching == "parallel" and len(names) > 1 and not self.fusion.merges:
            raise ValueError(
                f"schedule `{self.schedule.name}` throws all but one branch away without a fusion: name one"
            )
        if self.fusion.needs_turns and self.schedule.branching == "none":
            raise ValueError(
                f"fusion `{self.fusion.name}` needs weights of each task's own turn, which schedule "
                f"`{self.schedule.name}` has not: use `branches` or `sequential`"
            )
        self.fusion.check_branching(self.schedule.branching)
        alphas = getattr(self.fusion, "alpha_values", None)
        if alphas is not None and len(alphas) != len(names):
            raise ValueError(f"fusion.alpha_values has {len(alphas)} values for {len(names)} tasks")
        return self
