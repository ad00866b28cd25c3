"""Datasets: which images?"""

from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.datasets.options.dense import CityscapesOptions, DenseFolderOptions, Nyuv2Options
from tessera.data.datasets.options.digits import DigitsMOptions, DigitsScenesOptions
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.licensed import ImagenetOptions, Places365Options
from tessera.data.datasets.options.rendered import RenderedScenesOptions
from tessera.data.datasets.options.torchvision import C10sOptions, Cifar10Options, Cifar100Options, Stl10Options
from tessera.data.datasets.options.utkface import UtkfaceOptions
from tessera.data.datasets.options.voc import Voc0712Options, VocFolderOptions
from tessera.registry import Part

BASE = DatasetOptions
PARTS = {
    "digits_m": Part(
        "tessera.data.datasets.digits_m:DigitsM",
        DigitsMOptions,
        "handwritten digits blended over photographs, 32 px, embedded",
        "in the manner of MNIST-M (Ganin et al. 2016)",
    ),
    "image_folder": Part(
        "tessera.data.datasets.image_folder:ImageFolder", ImageFolderOptions, "a tree or archive, a folder a class"
    ),
    "cifar10": Part("tessera.data.datasets.cifar:Cifar10", Cifar10Options, "CIFAR-10, 32 px", "Krizhevsky 2009"),
    "cifar100": Part("tessera.data.datasets.cifar:Cifar100", Cifar100Options, "CIFAR-100, 32 px", "Krizhevsky 2009"),
    "c10s": Part(
        "tessera.data.datasets.cifar:C10s", C10sOptions, "a fixed fifth of CIFAR-10", "Kim, Lee & Song 2019, Table 1"
    ),
    "stl10": Part("tessera.data.datasets.stl10:Stl10", Stl10Options, "STL-10, 96 px", "Coates et al. 2011"),
    "imagenet": Part(
        "tessera.data.datasets.imagenet:Imagenet", ImagenetOptions, "ILSVRC2012, packed", "Russakovsky et al. 2015"
    ),
    "places365": Part(
        "tessera.data.datasets.places365:Places365", Places365Options, "Places365-Standard, packed", "Zhou et al. 2018"
    ),
    "utkface": Part(
        "tessera.data.datasets.utkface:Utkface",
        UtkfaceOptions,
        "UTKFace, faces with age, gender and ethnicity, 64 px",
        "Zhang, Song & Qi 2017",
    ),
    "voc0712": Part(
        "tessera.data.datasets.voc:Voc0712",
        Voc0712Options,
        "Pascal VOC 2007 and 2012 with boxes, packed",
        "Everingham et al. 2010",
    ),
    "voc_folder": Part(
        "tessera.data.datasets.voc_folder:VocFolder",
        VocFolderOptions,
        "a tree or archive in Pascal VOC form: images with boxes",
    ),
    "dense_folder": Part(
        "tessera.data.datasets.dense:DenseFolder",
        DenseFolderOptions,
        "a tree or archive: images with maps of classes, depth, disparity or normals beside them",
    ),
    "nyuv2": Part(
        "tessera.data.datasets.dense:Nyuv2",
        Nyuv2Options,
        "NYUv2: rooms with 13 classes, depth and normals, 288 x 384 px",
        "Silberman et al. 2012",
    ),
    "cityscapes": Part(
        "tessera.data.datasets.cityscapes:Cityscapes",
        CityscapesOptions,
        "CityScapes: streets with 2, 7 or 19 classes, parts and disparity",
        "Cordts et al. 2016",
    ),
    "digits_scenes": Part(
        "tessera.data.datasets.digits_scenes:DigitsScenes",
        DigitsScenesOptions,
        "handwritten digits on photographs with boxes, embedded",
        "a detection form of digits_m",
    ),
    "rendered_scenes": Part(
        "tessera.data.datasets.rendered_scenes:RenderedScenes",
        RenderedScenesOptions,
        "solids in rooms, ray-cast, with maps of classes, depth and normals, embedded",
    ),
}
