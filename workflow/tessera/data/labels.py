"""What a label is about: a class of the image, a value of each pixel, or objects in it. Torch-free."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Kind = Literal["class", "class_map", "depth_map", "disparity_map", "normal_map", "boxes"]
MAPS: tuple[Kind, ...] = ("class_map", "depth_map", "disparity_map", "normal_map")  # a value of each pixel
IN_WORDS: Mapping[Kind, str] = {
    "class": "classes",
    "class_map": "maps of classes",
    "depth_map": "maps of depth",
    "disparity_map": "maps of disparity",
    "normal_map": "maps of normals",
    "boxes": "boxes",
}
DOES: Mapping[Kind, str] = {  # what a network does that predicts them
    "class": "classifies",
    "class_map": "segments",
    "depth_map": "estimates depth",
    "disparity_map": "estimates disparity",
    "normal_map": "estimates normals",
    "boxes": "detects",
}


class Column(NamedTuple):
    """Labels of one name: what they are about, and the names of the classes, by label, where there are any."""

    kind: Kind
    classes: tuple[str, ...] = ()
