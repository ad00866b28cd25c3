"""What can be set of supervised tasks, which learn the dataset's own labels."""

from typing import ClassVar, Literal

from pydantic import Field

from tessera.tasks.options.base import TaskOptions


class ClassificationOptions(TaskOptions):
    """Supervised classification by the dataset's own labels: the bound, not a pretext task."""

    short: ClassVar[str] = "cls"
    uses_class_labels: ClassVar[bool] = True

    name: Literal["classification"] = "classification"
    hidden: tuple[int, ...] = Field((512, 256), description="Units of the head's hidden layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the hidden layers.")
