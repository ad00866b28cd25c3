"""Coarser classes above a dataset's own: each level is a label column, and its groups list classes. Torch-free."""

import difflib
from collections.abc import Mapping, Sequence

from tessera.data.reading import printable

Level = Mapping[str, Sequence[str]]  # groups, by label, to names of classes

# Krizhevsky 2009: 20 superclasses of five classes each, in the order of their official labels.
_SUPERCLASSES: Level = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
# The 10 and 3 classes above them, in the order of their labels: docs/methods.md says whose they are.
_GROUPS: Level = {
    "large_animals": ("large_carnivores", "large_omnivores_and_herbivores", "reptiles"),
    "medium_animals": ("aquatic_mammals", "medium_mammals"),
    "small_animals": ("fish", "small_mammals"),
    "invertebrates": ("insects", "non-insect_invertebrates"),
    "people": ("people",),
    "vegetations": ("flowers", "fruit_and_vegetables", "trees"),
    "household_objects": ("food_containers", "household_electrical_devices", "household_furniture"),
    "construction": ("large_man-made_outdoor_things",),
    "natural_scenes": ("large_natural_outdoor_scenes",),
    "vehicles": ("vehicles_1", "vehicles_2"),
}
_KINGDOMS: Level = {
    "animals": ("large_animals", "medium_animals", "small_animals", "invertebrates", "people"),
    "vegetations": ("vegetations",),
    "objects_and_scenes": ("household_objects", "construction", "natural_scenes", "vehicles"),
}


def unfit_levels(levels: Mapping[str, Level], classes: Sequence[str]) -> str | None:
    """Why a hierarchy does not fit the classes of a dataset, in one line; None where it does."""
    for column, level in levels.items():
        group_of: dict[str, str] = {}
        for group, members in level.items():
            for name in members:
                if name in group_of:
                    return f"`{column}`: class `{printable(name)}` is in `{group_of[name]}` and in `{group}`"
                group_of[name] = group
        for name in classes:
            if name not in group_of:
                near = difflib.get_close_matches(name[:100], group_of, n=1)
                hint = f" Did you mean `{printable(name)}` by `{printable(near[0])}`?" if near else ""
                return f"`{column}`: class `{printable(name)}` is in no group.{hint}"
        if len(classes) > 1 and len({group_of[name] for name in classes}) == 1:
            return f"`{column}`: all classes are in one group: there is nothing to tell apart"
    return None


def _above(level: Level, below: Level) -> Level:
    """A level whose groups list groups of the one below, in terms of classes."""
    return {group: tuple(name for part in parts for name in below[part]) for group, parts in level.items()}


_GROUPS_OF_CLASSES = _above(_GROUPS, _SUPERCLASSES)
HIERARCHIES: Mapping[str, Mapping[str, Level]] = {
    "cifar100": {
        "superclass": _SUPERCLASSES,
        "group": _GROUPS_OF_CLASSES,
        "kingdom": _above(_KINGDOMS, _GROUPS_OF_CLASSES),
    },
}
