"""The paper's target network: a narrow AlexNet of 3x3 kernels."""

from collections.abc import Iterable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.errors import StudyError
from tessera.models.networks.base import TargetNetwork
from tessera.models.networks.options import ReducedAlexNetOptions

CHANNELS = {"half_quarter": (48, 128, 192, 192, 128), "quarter": (24, 64, 96, 96, 64)}
LARGE_PX = 128
LARGEST_GRID = 7


class ReducedAlexNet(TargetNetwork):
    """Five convolutions and three fully connected layers.

    Source: Kim, Lee & Song 2019, section 4.1: half to a quarter of AlexNet's kernels, all of them 3x3. The paper names
    neither strides nor pooling: we max-pool 2x2 after convolutions 1, 2 and 5 and average the result over the cells of
    the largest grid, up to 7x7, that divides it evenly (32 px: 4x4, 96 px: 6x6, 224 px: 7x7). From 128 px on the first
    convolution has stride 2. Batch normalisation is our addition.

    Args:
        options: What the study set.
        num_classes: Number of logits.
        image_size: Height and width, px, at least 8.

    Shape:
        images: (N, 3, image_size, image_size), normalised.
        returns: (N, num_classes) logits.

    Raises:
        StudyError: If the images are too small for three poolings.
    """

    def __init__(self, options: ReducedAlexNetOptions, num_classes: int, image_size: int) -> None:
        super().__init__()
        if image_size < 8:
            raise StudyError(f"network `reduced_alexnet` needs images of 8 px or more, but they have {image_size} px")
        self.options = options
        one, two, three, four, five = CHANNELS[options.width]
        stride = 2 if image_size >= LARGE_PX else 1
        self.layer_channels = {"pool1": one, "pool2": two, "conv4": four, "conv5": five}
        self.inner_channels = {"conv2": two, "conv3": three}
        self.conv1 = _convolution(3, one, options.batch_norm, stride)
        self.conv2 = _convolution(one, two, options.batch_norm)
        self.conv3 = _convolution(two, three, options.batch_norm)
        self.conv4 = _convolution(three, four, options.batch_norm)
        self.conv5 = _convolution(four, five, options.batch_norm)
        side = -(-image_size // stride) // 8
        # Even cells: averages over uneven ones have no deterministic gradient on a GPU.
        self.grid = max(grid for grid in range(1, LARGEST_GRID + 1) if side % grid == 0)
        self.cell = side // self.grid
        self.embedding_size = options.hidden
        output = nn.Linear(options.hidden, num_classes)
        self.classifier = nn.Sequential(
            nn.Linear(five * self.grid**2, options.hidden),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(options.hidden, options.hidden),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            output,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # The logits start near zero, so that the first loss is near log K whatever the width.
        nn.init.normal_(output.weight, std=0.01)

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        return self.maps(images, self.layer_channels)

    def maps(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        found = {"pool1": F.max_pool2d(self.conv1(images), 2)}
        found["conv2"] = self.conv2(found["pool1"])
        found["pool2"] = F.max_pool2d(found["conv2"], 2)
        found["conv3"] = self.conv3(found["pool2"])
        found["conv4"] = self.conv4(found["conv3"])
        found["conv5"] = self.conv5(found["conv4"])
        return {name: found[name] for name in names}

    def embedding(self, z: Tensor) -> Tensor:
        embedded = F.avg_pool2d(F.max_pool2d(z, 2), self.cell).flatten(1)
        for layer in list(self.classifier)[:-1]:
            embedded = layer(embedded)
        return embedded

    def logits(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.classifier[-1](embedding)
        return logits

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # `within_stage`: this network has no stages of several layers but its last; the three pairs are neighbours of
        # equal size, each layer in one pair at most.
        return {
            "across_stage": (("pool1", "pool2"), ("pool2", "conv4"), ("conv4", "conv5")),
            "within_stage": (("pool1", "conv2"), ("pool2", "conv3"), ("conv4", "conv5")),
        }


def _convolution(in_channels: int, channels: int, batch_norm: bool, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=not batch_norm)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels) if batch_norm else nn.Identity(), nn.ReLU())
