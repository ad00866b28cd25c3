"""What every task is: it makes batches from images, gives a head, and scores the head's prediction."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tessera.data.constants import constant
from tessera.data.labels import MAPS, Column
from tessera.data.store import Dataset, Split
from tessera.data.views import View, draw, middle
from tessera.tasks.options.base import TaskOptions, Views, view_px


class TaskBatch(NamedTuple):
    """What one step of a task consumes.

    Shape:
        inputs: (M, 3, h, w) float32, normalised encoder input; M is a multiple of the number of images.
        labels: Whatever the task's loss reads; tensors, on the inputs' device.
    """

    inputs: Tensor
    labels: Any


class Preview(NamedTuple):
    """A few images as a task sees them, and what it makes of them.

    Attributes:
        views: Pictures of the same images by what they show, in the order in which to look at them: each (n, 3, h, w)
            uint8 on the CPU, of a size of its own.
        caption: How to read them, in a sentence or two.
    """

    views: dict[str, Tensor]
    caption: str


@dataclass(frozen=True)
class ImageStatistics:
    """What a task may know of the source's images.

    Attributes:
        image_size: Height and width, px.
        mean, std: Per channel, in units of [0, 1].
        columns: The dataset's labels by name, for tasks that learn them.
        batch_size: Images of a batch that is validated; None where nothing is.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    columns: Mapping[str, Column] = field(default_factory=dict)
    batch_size: int | None = None

    @classmethod
    def of(cls, dataset: Dataset, batch_size: int | None = None) -> "ImageStatistics":
        return cls(dataset.image_size, dataset.mean, dataset.std, dataset.columns, batch_size)


class Task(ABC):
    """One task. It holds no weights: its head is a module that the trainer owns.

    Args:
        options: What the study set; what it left open is filled by the image size.
        statistics: Of the source's images.
        prepared: What `prepare` made, by name; empty where the task needs nothing.
        device: Where batches are made.
    """

    def __init__(
        self, options: Any, statistics: ImageStatistics, prepared: Mapping[str, Tensor], device: torch.device
    ) -> None:
        self.options = options.at(statistics.image_size)
        self.statistics = statistics
        self.prepared = {name: tensor.to(device) for name, tensor in prepared.items()}
        self.device = device
        self.setup()

    def setup(self) -> None:  # noqa: B027, most tasks make nothing
        """What a task makes once, of its options, the images' statistics and what was prepared; here nothing."""

    @classmethod
    def prepare(
        cls, options: Any, image_size: int, dataset: Dataset | None, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Makes what the task needs beforehand, once for all trainings (stage `generate_pretext_labels`).

        `options` are resolved for the image size; `dataset` is None where `labels_from_images` is False.
        """
        return {}

    @abstractmethod
    def build_head(self, num_features: int) -> nn.Module:
        """A head from z (M, num_features, h', w') to the prediction that `loss` reads."""

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        """Inputs and labels, made on the device by batched tensor code; here `batch_of` a random view of each image.

        Args:
            images: (N, 3, H, W) uint8.
            labels: The dataset's own, by name of the column; only supervised tasks read them.
            generator: On the CPU, so that a seed means the same draws on every device.
        """
        view = random_view(images, generator, self.options.views or Views())
        return self.batch_of(view.images(images), seen_labels(view, labels, self.statistics.columns))

    def labels_of(self, split: Split) -> dict[str, Tensor]:
        """What `make_batch` reads of the dataset's labels, of all images of a split: here nothing."""
        return {}

    def batch_of(self, views: Tensor, labels: Mapping[str, Tensor]) -> TaskBatch:
        """The batch of these views, which the encoder is shown as they are: of tasks whose options say `plain_view`.

        Args:
            views: (N, 3, h, w) uint8.
            labels: As of `make_batch`, but maps are of the views.
        """
        raise NotImplementedError(f"{type(self).__name__} makes its inputs itself.")

    @abstractmethod
    def loss(self, prediction: Any, labels: Any) -> Tensor:
        """The task's loss, (), float32, a mean over samples or pixels."""

    @abstractmethod
    def metrics(self, prediction: Any, labels: Any) -> dict[str, Tensor]:
        """Figures beside the loss, each (), detached; nothing is read back here."""

    @abstractmethod
    def chance(self) -> dict[str, float]:
        """The value of `loss` and of each metric that knows nothing, where one is known."""

    def preview(self, batch: TaskBatch, prediction: Any, number: int) -> Preview | None:
        """Pictures of what the task saw and predicted of the first images of a batch; None where there are none to see.

        Args:
            batch: As `make_batch` made it.
            prediction: The head's, for this batch.
            number: How many images to show, at most as many as the batch has.
        """
        return None

    def normalize(self, pixels: Tensor) -> Tensor:
        """From [0, 1] to the encoder's input: (x - mean) / std per channel. (N, 3, H, W) float32."""
        mean = constant(self.statistics.mean, pixels.device).view(1, 3, 1, 1)
        std = constant(self.statistics.std, pixels.device).view(1, 3, 1, 1)
        return (pixels - mean) / std

    def denormalize(self, inputs: Tensor) -> Tensor:
        """The inverse of `normalize`, as pictures: (N, 3, H, W) float32 to uint8 on the CPU."""
        mean = constant(self.statistics.mean, inputs.device).view(1, 3, 1, 1)
        std = constant(self.statistics.std, inputs.device).view(1, 3, 1, 1)
        return to_bytes(inputs * std + mean)


def to_bytes(pixels: Tensor) -> Tensor:
    """Pictures from fractions, which are clipped to [0, 1]: any shape, float, to uint8 on the CPU."""
    return (pixels.detach().float().clamp(0, 1) * 255).round().byte().cpu()


def shared_views(options: Iterable[TaskOptions]) -> Views:
    """How views are drawn that several tasks see: as the first task wants that depends on it."""
    return next((each.views for each in options if each.views is not None), Views())


def random_view(images: Tensor, generator: torch.Generator, views: Views) -> View:
    """Draws a view of each image, (N, 3, H, W): what a task that looks at whole images is shown of them.

    A framed view is smaller than the image where the presets say so; else it moves within a frame of an eighth.
    """
    number, _, height, width = images.shape
    crop = views.crop or (_view_shape(height, width) if views.framed else (height, width))
    padding = min(height, width) // 8 if views.framed and crop == (height, width) else 0
    return draw(number, (height, width), generator, flip=views.flip, scales=views.scales, crop=crop, padding=padding)


def plain_view(images: Tensor, views: Views) -> View:
    """What is shown of images (N, 3, H, W) to be measured: neither mirrored nor moved.

    All of each image, or its middle, as large as a random view, where views are framed.
    """
    number, _, height, width = images.shape
    return middle(number, (height, width), _view_shape(height, width) if views.framed else None)


def seen_labels(view: View, labels: Mapping[str, Tensor], columns: Mapping[str, Column]) -> dict[str, Tensor]:
    """The labels of what is seen, by name of their column: maps are those of the views."""
    return {
        name: view.column(columns[name].kind, values) if columns[name].kind in MAPS else values
        for name, values in labels.items()
    }


def random_views(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images as a framed random view shows them.

    Shape:
        images: (N, 3, H, H) uint8.
        returns: (N, 3, V, V) uint8, V as `view_px` gives.
    """
    return random_view(images, generator, Views()).images(images)


def _view_shape(height: int, width: int) -> tuple[int, int]:
    return (view_px(height), view_px(width)) if height == width else (height, width)
