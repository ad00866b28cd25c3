"""CityScapes, from its official tree."""

from collections.abc import Mapping

from tessera.data.columns import NO_CLASS
from tessera.data.datasets.dense import DenseReader
from tessera.data.datasets.dense_layout import CityscapesLayout
from tessera.data.datasets.dense_maps import ClassForm, DisparityForm, MapForm, PartForm

# By the ids of `*_labelIds.png`, in the order of the 19 classes of the official evaluation.
CLASSES: Mapping[int, str] = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
GROUPS: Mapping[str, tuple[int, ...]] = {
    "flat": (7, 8),
    "construction": (11, 12, 13),
    "object": (17, 19, 20),
    "nature": (21, 22),
    "sky": (23,),
    "human": (24, 25),
    "vehicle": (26, 27, 28, 29, 30, 31, 32, 33),
}
IDS = (-1, *range(34), NO_CLASS)  # license plate, which is -1, has 255 in a file of 8 bits

# Those of most of the set's camera files; inverse depths of all images are taken with them.
BASELINE, FOCAL_LENGTH = 0.209313, 2262.52  # m, px of the image as it is taken


class Cityscapes(DenseReader):
    """CityScapes' finely labelled streets: 2,975 for training and, as test split, the 500 of validation.

    Source: Cordts et al., CVPR 2016. Of 19 classes, those of the official evaluation. Their 7 groups are those of the
    thesis that MTAN is from (Liu, Table 3.1): the same and, as vehicles, caravan and trailer; what else the official
    groups hold and its evaluation ignores has no class. Of 2 classes, the foreground are human and vehicle, and the
    background is all that is left, what is unlabelled too.

    Ten parts as in Auto-lambda (Liu et al. 2022) from CityScapes Panoptic Parts (Meletis et al. 2020): the background,
    which is all without a part, four of persons and riders, five of cars, trucks and buses.

    Disparity is (p - 1) / 256 px of the stored 16 bits p, in pixels of the prepared image: at 256 x 512 px that is
    (p - 1) / 1024, as in Auto-lambda. Inverse depth is it over baseline and focal length. Where p is 0 it is not known,
    and nothing is kept of p = 1, infinitely far.

    Shape:
        images: (N, height, width, 3) uint8.
        columns: `segmentation` and `parts` (N, height, width) uint8, `disparity` and `inverse_depth` (N, height, width)
            float16.
    """

    def forms(self, texts: Mapping[str, str]) -> dict[str, MapForm]:
        known: dict[str, MapForm] = {
            "segmentation": segmentation(self.options.classes),
            "parts": PartForm(),
            "disparity": DisparityForm(1 / 256, 1, pixels=True),
            "inverse_depth": DisparityForm(1 / 256 / (BASELINE * FOCAL_LENGTH), 1),
        }
        return {column: form for column, form in known.items() if column in self.options.maps}

    def made_of(self, column: str) -> str:
        return CityscapesLayout.SAME.get(column, column)


def segmentation(classes: int) -> ClassForm:
    """What the official ids mean, in 2, 7 or 19 classes."""
    none = dict.fromkeys(IDS, NO_CLASS)
    if classes == 19:
        return ClassForm(list(CLASSES.values()), none | {of: label for label, of in enumerate(CLASSES)})
    if classes == 7:
        groups = {of: label for label, members in enumerate(GROUPS.values()) for of in members}
        return ClassForm(list(GROUPS), none | groups)
    foreground = dict.fromkeys((*GROUPS["human"], *GROUPS["vehicle"]), 1)
    return ClassForm(["background", "foreground"], dict.fromkeys(IDS, 0) | foreground)
