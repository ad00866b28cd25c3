"""Encoders: from images to a feature map. Each names its layers for transfer and fusion."""

from tessera.models.encoders.options import (
    AlexNetOptions,
    CifarResNetOptions,
    EncoderOptions,
    ResNet8Options,
    ResNet18Options,
    ResNet26Options,
    ResNet50Options,
    SegNetOptions,
    TimmOptions,
    VGG16Options,
    VGGOptions,
    WideResNetOptions,
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
    "cifar_resnet": Part(
        "tessera.models.encoders.cifar_resnet:CifarResNet",
        CifarResNetOptions,
        "CIFAR ResNet of any depth, such as ResNet-20 and ResNet-110",
        "He et al. 2016",
    ),
    "wide_resnet": Part(
        "tessera.models.encoders.wide_resnet:WideResNet",
        WideResNetOptions,
        "wide ResNet, such as WRN-16-1 and WRN-40-2",
        "Zagoruyko & Komodakis 2016",
    ),
    "resnet18": Part(
        "tessera.models.encoders.torchvision_resnet:ResNet18",
        ResNet18Options,
        "ResNet-18, with a stem for small images or torchvision's",
        "He et al. 2016",
    ),
    "resnet50": Part(
        "tessera.models.encoders.torchvision_resnet:ResNet50", ResNet50Options, "ResNet-50", "He et al. 2016"
    ),
    "alexnet": Part(
        "tessera.models.encoders.plain:AlexNet", AlexNetOptions, "AlexNet, torchvision's", "Krizhevsky et al. 2012"
    ),
    "segnet": Part(
        "tessera.models.encoders.segnet:SegNet", SegNetOptions, "VGG-16 and its mirror", "Badrinarayanan et al. 2017"
    ),
    "timm": Part(
        "tessera.models.encoders.timm_features:TimmEncoder",
        TimmOptions,
        "any convolutional network of the package timm, an optional extra",
        "Wightman 2019",
    ),
    "vgg16": Part("tessera.models.encoders.plain:VGG16", VGG16Options, "VGG-16", "Simonyan & Zisserman 2015"),
    "vgg": Part(
        "tessera.models.encoders.plain:VGG",
        VGGOptions,
        "VGG-8 to VGG-19 with batch norms, for small images",
        "Simonyan & Zisserman 2015; Tian et al. 2020",
    ),
}
