"""Encoders: from images to a feature map. Each names its layers for transfer and fusion."""

from tessera.models.encoders.options import (
    AlexNetOptions,
    EncoderOptions,
    ResNet8Options,
    ResNet26Options,
    ResNet50Options,
    SegNetOptions,
    VGG16Options,
)
from tessera.registry import Part

BASE = EncoderOptions
PARTS = {
    "resnet8": Part(
        "tessera.models.encoders.cifar_resnet:ResNet8", ResNet8Options, "CIFAR ResNet, 8 layers", "He et al. 2016"
    ),
    "resnet26": Part(
        "tessera.models.encoders.cifar_resnet:ResNet26", ResNet26Options, "CIFAR ResNet, 26 layers", "He et al. 2016"
    ),
    "resnet50": Part("tessera.models.encoders.resnet50:ResNet50", ResNet50Options, "ResNet-50", "He et al. 2016"),
    "alexnet": Part(
        "tessera.models.encoders.plain:AlexNet", AlexNetOptions, "AlexNet, torchvision's", "Krizhevsky et al. 2012"
    ),
    "segnet": Part(
        "tessera.models.encoders.segnet:SegNet", SegNetOptions, "VGG-16 and its mirror", "Badrinarayanan et al. 2017"
    ),
    "vgg16": Part("tessera.models.encoders.plain:VGG16", VGG16Options, "VGG-16", "Simonyan & Zisserman 2015"),
}
