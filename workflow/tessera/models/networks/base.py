"""What every target network is: one that gives logits of an image, or one that finds objects in it."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from tessera.models.encoders.base import Encoder, LayeredNetwork


class TargetNetwork(LayeredNetwork):
    """From images to logits, in three parts: the named maps, an embedding of the last of them, and a linear layer.

    A class of the family takes its options, `num_classes` and `image_size`.

    Attributes:
        embedding_size: Numbers that an embedding has.
    """

    embedding_size: int

    @abstractmethod
    def embedding(self, z: Tensor) -> Tensor:
        """What the last linear layer reads, (N, D), of the last entry of `layers`."""

    @abstractmethod
    def logits(self, embedding: Tensor) -> Tensor:
        """Logits (N, K) of an embedding (N, D): the last linear layer."""

    def classify(self, z: Tensor) -> Tensor:
        """Logits (N, K) of the last entry of `layers`."""
        return self.logits(self.embedding(z))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of normalised images (N, 3, H, W)."""
        last = list(self.layer_channels)[-1]
        return self.classify(self.maps(images, (last,))[last])


class ObjectsOfImage(Protocol):
    """What a detector reads of an image's annotation; `tessera.data.detection.Objects` is one."""

    @property
    def boxes(self) -> Tensor:
        """(n, 4) float32: x1, y1, x2, y2, px of the image as the network sees it."""

    @property
    def labels(self) -> Tensor:
        """(n,) int64, classes from 0 on."""


@dataclass(frozen=True)
class Detections:
    """Objects found in one image, best first.

    Attributes:
        boxes: (k, 4) float32: x1, y1, x2, y2, px of the image as the network sees it, within the image.
        scores: (k,) float32, within (0, 1], not rising.
        labels: (k,) int64, classes from 0 on.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class DetectionNetwork(LayeredNetwork):
    """From images to boxes with classes, on top of an encoder, which keeps its weights' names under `encoder.`.

    A class of the family takes its options, an `Encoder` (kept, not copied) and `num_classes`. Its named maps are the
    encoder's, so that what measures features measures those that detection left.

    Attributes:
        encoder: What it sees with.
        image_size: Height and width of its input, px.
        num_classes: Without the background.
    """

    encoder: Encoder
    image_size: int
    num_classes: int

    @abstractmethod
    def losses(self, images: Tensor, objects: Sequence[ObjectsOfImage]) -> dict[str, Tensor]:
        """Sums over the batch: divide `localization` + `classification` by max(1, `positives`), all processes' sums.

        Every object counts as one to be found: whoever trains leaves difficult ones out. A box of no area counts as
        absent, and an image may have no object at all.

        Shape:
            images: (N, 3, S, S), normalised, any float dtype.
            objects: one an image, on any device.
            returns: `localization`, `classification` and `positives`, each () float32, finite; `positives` is how many
                default boxes an object was assigned to, without gradient.
        """

    @abstractmethod
    def detect(self, images: Tensor) -> list[Detections]:
        """The objects of each image (N, 3, S, S), normalised; without gradients. Set the network to eval mode first."""

    def forward(self, images: Tensor, objects: Sequence[ObjectsOfImage]) -> dict[str, Tensor]:
        """As `losses`, so that what wraps a module's call sees a training step."""
        return self.losses(images, objects)

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        return self.encoder.layers(images)

    def maps(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        return self.encoder.maps(images, names)

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        return self.encoder.stage_pairs
