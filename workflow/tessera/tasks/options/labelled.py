"""What can be set of supervised tasks, which learn the dataset's own labels."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.data.labels import IN_WORDS, Kind
from tessera.errors import brief
from tessera.figures import Figure, shares
from tessera.registry import LATE, suggest
from tessera.tasks.options.base import TaskOptions


class LabelledTaskOptions(TaskOptions):
    """A task that learns one column of the dataset's labels; a source may have several, each of its own column.

    Attributes:
        reads: Kind of the column.
    """

    reads: ClassVar[Kind]
    plain_view: ClassVar[bool] = True
    any_shape: ClassVar[bool] = True

    labels: Annotated[str, LATE] = Field(
        "class", min_length=1, description="Column of the dataset's labels that is learned."
    )

    @property
    def _usual(self) -> bool:
        """Whether it learns the column that it learns where none is named."""
        return bool(self.labels == type(self).model_fields["labels"].default)

    @property
    def key(self) -> str:
        return super().key if self._usual else f"{super().key}.{self.labels}"

    @property
    def column(self) -> str:
        return self.labels

    @property
    def drawn_by(self) -> str:
        return super().drawn_by if self._usual else self.key

    @property
    def word(self) -> str:
        return super().word if self._usual else f"{super().word}_{self.labels}"

    def clashes(self, whole: Any) -> Iterator[str]:
        dataset = whole.dataset
        kinds = dataset.label_columns()
        if self.reads not in kinds.values():
            others = " and ".join(IN_WORDS[kind] for kind in sorted(set(kinds.values()))) or "no labels"
            yield (
                f"{self.name} learns {_OF_IMAGE[self.reads]}, but dataset `{dataset.name}` has {others} instead: "
                f"choose a dataset with {IN_WORDS[self.reads]}, or tasks that make their own labels"
            )
        elif self.labels not in kinds:
            yield (
                f"{self.name}.labels: dataset `{dataset.name}` has no label column `{brief(self.labels)}`. "
                f"{suggest(self.labels, kinds)}"
            )
        elif kinds[self.labels] != self.reads:
            fits = (name for name, kind in kinds.items() if kind == self.reads)
            yield (
                f"{self.name} learns {IN_WORDS[self.reads]}, but column `{self.labels}` of dataset `{dataset.name}` "
                f"has {IN_WORDS[kinds[self.labels]]}. Columns that fit: {', '.join(sorted(fits))}"
            )
        yield from super().clashes(whole)


_OF_IMAGE: dict[Kind, str] = {
    "class": "the class of each image",
    "class_map": "the class of each pixel",
    "depth_map": "the depth of each pixel",
    "disparity_map": "the disparity of each pixel",
    "normal_map": "the normal of each pixel",
    "boxes": "the boxes of each image",
}


class ClassificationOptions(LabelledTaskOptions):
    """Supervised classification by the dataset's own labels: a bound beside pretext tasks, or a task among several."""

    short: ClassVar[str] = "cls"
    reads: ClassVar[Kind] = "class"
    figures: ClassVar[tuple[Figure, ...]] = (
        *shares("accuracy", "top5_accuracy"),
        Figure(name="cross_entropy", lower_is_better=True),
    )

    name: Literal["classification"] = "classification"
    hidden: tuple[int, ...] = Field((512, 256), description="Units of the head's hidden layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the hidden layers.")
