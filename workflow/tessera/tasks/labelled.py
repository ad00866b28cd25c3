"""What every supervised task is: it learns one column of the dataset's labels, and can be measured by it."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tessera.data.labels import Column
from tessera.data.store import Split
from tessera.data.views import to_unit
from tessera.tasks.base import Task, TaskBatch
from tessera.tasks.meters.base import Meter
from tessera.tasks.options.labelled import LabelledTaskOptions


class LabelledTask(Task):
    """A task by the dataset's own labels. It is shown the image itself; an image without a label counts for nothing.

    Shape:
        inputs: (N, 3, V, V) float32, mirrored and cropped at random, normalised.
    """

    options: LabelledTaskOptions

    @property
    def column(self) -> Column:
        """What is learned: kind and classes of the dataset's column."""
        return self.statistics.columns[self.options.labels]

    def labels_of(self, split: Split) -> dict[str, Tensor]:
        known = {"class": split.labels, **split.columns}
        return {self.options.labels: known[self.options.labels]}

    def batch_of(self, views: Tensor, labels: Mapping[str, Tensor]) -> TaskBatch:
        return TaskBatch(self.normalize(to_unit(views)), self.wanted(labels))

    def wanted(self, labels: Mapping[str, Tensor]) -> Any:
        """What `loss` and `meter` read, of what `labels_of` gives; here the column as it is."""
        return labels[self.options.labels]

    @abstractmethod
    def meter(self) -> Meter:
        """A fresh meter, which gives what the options' `figures` name."""

    @abstractmethod
    def guessed(self) -> dict[str, float]:
        """The value of each of the options' `figures` that knows nothing, where one is known; in the figure's unit."""
