"""SSD: a detector in one pass, on any encoder."""

from collections.abc import Sequence

from torch import Tensor

from tessera.models.encoders.base import Encoder
from tessera.models.networks.base import DetectionNetwork, Detections, ObjectsOfImage
from tessera.models.networks.options import SSD300Options


class SSD300(DetectionNetwork):
    """Boxes and classes from maps of several sizes."""

    def __init__(self, options: SSD300Options, encoder: Encoder, num_classes: int) -> None:
        super().__init__()
        self.options, self.encoder, self.num_classes = options, encoder, num_classes
        self.image_size = options.image_size

    def losses(self, images: Tensor, objects: Sequence[ObjectsOfImage]) -> dict[str, Tensor]:
        raise NotImplementedError

    def detect(self, images: Tensor) -> list[Detections]:
        raise NotImplementedError
