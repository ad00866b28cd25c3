"""What can be set of an encoder."""

from typing import Literal

from tessera.registry import Options


class ResNet8Options(Options):
    """CIFAR ResNet of one block a stage (6n+2, n = 1): small, for quick runs."""

    name: Literal["resnet8"] = "resnet8"


class ResNet26Options(Options):
    """CIFAR ResNet of four blocks a stage (6n+2, n = 4): the paper's encoder for CIFAR."""

    name: Literal["resnet26"] = "resnet26"
