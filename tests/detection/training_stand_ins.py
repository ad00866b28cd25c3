"""A user's own small detector and encoder, images with painted objects, and settings that train in a blink."""

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.detection import DetectionDataset, DetectionSplit, Objects
from tessera.data.normalization import Normalization
from tessera.jobs import TransferKnowledge
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.options import EncoderOptions
from tessera.models.networks.base import DetectionNetwork, Detections, ObjectsOfImage
from tessera.models.networks.options import DetectorOptions
from tessera.models.store import StoredEncoder

SIZE, CELLS = 32, 4
COLORS = torch.tensor([[230, 30, 30], [30, 30, 230]], dtype=torch.uint8)
BACKGROUND = 90
MEAN, STD = (0.4, 0.4, 0.4), (0.2, 0.2, 0.2)


class LeanOptions(EncoderOptions):
    name: Literal["training_stand_ins:LeanEncoder"] = "training_stand_ins:LeanEncoder"
    norm: bool = False


class LeanEncoder(Encoder):
    """Two convolutions: z has 6 channels, an eighth of the size."""

    Options = LeanOptions
    fusion_convolutions: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, options: LeanOptions) -> None:
        super().__init__()
        self.layer_channels = {"first": 4, "second": 6}
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 6, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(4) if options.norm else nn.Identity()

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        first = self.norm(self.conv1(images)).relu()
        return {"first": first, "second": self.conv2(first).relu()}

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        return {}


class SpotOptions(DetectorOptions):
    name: Literal["training_stand_ins:Spot"] = "training_stand_ins:Spot"
    dies_after: int | None = None


class Spot(DetectionNetwork):
    """Says of each of 4 x 4 cells which object has its centre there, and where its corners are."""

    Options = SpotOptions

    def __init__(self, options: SpotOptions, encoder: Encoder, num_classes: int) -> None:
        super().__init__()
        self.options, self.encoder, self.num_classes, self.image_size = options, encoder, num_classes, SIZE
        self.head = nn.Conv2d(encoder.num_features, num_classes + 1 + 4, 1)
        self.scale = nn.Parameter(torch.ones(()))  # belongs to no layer of its own
        self.batches = 0

    def losses(self, images: Tensor, objects: Sequence[ObjectsOfImage]) -> dict[str, Tensor]:
        self.batches += 1
        if self.options.dies_after is not None and self.batches > self.options.dies_after:
            os._exit(3)
        found = self.scale * self.head(self.encoder(images)).float()
        wanted = torch.zeros(len(images), CELLS, CELLS, dtype=torch.int64)
        corners = torch.zeros(len(images), CELLS, CELLS, 4)
        for index, of in enumerate(objects):
            column, row = ((of.boxes[:, :2] + of.boxes[:, 2:]) / 2 / SIZE * CELLS).long().clamp(0, CELLS - 1).T
            wanted[index, row, column] = of.labels + 1
            corners[index, row, column] = of.boxes / SIZE
        number = self.num_classes + 1
        classification = F.cross_entropy(found[:, :number], wanted, reduction="sum")
        there = wanted > 0
        localization = F.smooth_l1_loss(found[:, number:].permute(0, 2, 3, 1)[there], corners[there], reduction="sum")
        return {"classification": classification, "localization": localization, "positives": there.sum()}

    def detect(self, images: Tensor) -> list[Detections]:
        raise NotImplementedError


class Painted:
    """As `DetectionSplit`: rectangles of their class's colour on gray; image 1 has a difficult one, image 2 none."""

    def __init__(self, number: int = 12, side: int = 48) -> None:
        generator = torch.Generator().manual_seed(3)
        self.images, self.marked = [], []
        for index in range(number):
            height, width = side, side + 4 * (index % 3)
            image = torch.full((3, height, width), BACKGROUND, dtype=torch.uint8)
            count = 0 if index == 2 else 1 + index % 2
            boxes, labels = torch.empty(count, 4), torch.empty(count, dtype=torch.int64)
            for item in range(count):
                w, h = torch.randint(side // 4, side // 2, (2,), generator=generator).tolist()
                x = int(torch.randint(0, width - w + 1, (), generator=generator))
                y = int(torch.randint(0, height - h + 1, (), generator=generator))
                labels[item] = int(torch.randint(0, 2, (), generator=generator))
                boxes[item] = torch.tensor([x, y, x + w, y + h])
                image[:, y : y + h, x : x + w] = COLORS[labels[item]].view(3, 1, 1)
            difficult = torch.zeros(count, dtype=torch.bool)
            if index == 1:
                difficult[0] = True
            self.images.append(image)
            self.marked.append(Objects(boxes, labels, difficult))

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        return self.images[index]

    def objects(self, index: int) -> Objects:
        return self.marked[index]

    def name(self, index: int) -> str:
        return f"painted {index}"

    def size(self, index: int) -> tuple[int, int]:
        height, width = self.images[index].shape[1:]
        return height, width


def as_split(images: Any) -> DetectionSplit:
    """The images, for the type checker."""
    return cast(DetectionSplit, images)


def painted(number: int = 12) -> DetectionDataset:
    split = as_split(Painted(number))
    return DetectionDataset(("red", "blue"), (0.35, 0.35, 0.35), (0.25, 0.25, 0.25), {"train": split, "test": split})


def source(seed: int = 7, **options: Any) -> StoredEncoder:
    """An encoder as an artifact would give it."""
    torch.manual_seed(seed)
    given = LeanOptions(**options)
    return StoredEncoder(LeanEncoder(given).eval(), given, Normalization(MEAN, STD))


def settings(transfer: str | dict[str, Any] = "none", **changes: Any) -> TransferKnowledge:
    """Settings of the stage; keyword arguments are its own keys."""
    content = {
        "transfer": {"name": transfer} if isinstance(transfer, str) else transfer,
        "network": {"name": "training_stand_ins:Spot", "encoder": {"name": "training_stand_ins:LeanEncoder"}},
        "label_fraction": 1.0,
        "epochs": 2,
        "first_stage_epochs": 0,
        "iterations": 3,
        "batch_size": 4,
        "augmentation": "none",
        "optimizer": {"learning_rate": 0.01, "milestones": [0.5]},
    }
    return TransferKnowledge.model_validate({**content, **changes})
