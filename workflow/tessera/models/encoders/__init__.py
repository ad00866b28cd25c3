"""Encoders: from images to a feature map. Each names its layers for transfer and fusion."""

from tessera.models.encoders.options import ResNet8Options, ResNet26Options
from tessera.registry import Part

PARTS = {
    "resnet8": Part(
        "tessera.models.encoders.cifar_resnet:ResNet8", ResNet8Options, "CIFAR ResNet, 8 layers", "He et al. 2016"
    ),
    "resnet26": Part(
        "tessera.models.encoders.cifar_resnet:ResNet26", ResNet26Options, "CIFAR ResNet, 26 layers", "He et al. 2016"
    ),
}
