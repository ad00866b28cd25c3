"""Everything that determines an artifact, back to the images, in the words of a study; and what differs.

An artifact's manifest has its own settings and names its inputs, which have their own. Laid into one table with the
keys that a study would use, a setting of the pretraining is one entry, however many jobs stand behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tessera.explain.recipe import Recipe, Shelf
from tessera.parts import members

Facts = dict[str, Any]
UNKNOWN = "input "  # of an input that nothing is known of: `input source`
CODE = "code of "  # of a part from outside of Tessera: `code of my_package.my_module:MyTask`
# Roles of inputs that are networks: what they were trained with counts before what their measurement repeats.
_NETWORKS = ("source", "network")


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Attributes:
        key: Dotted, as in a study; or `version of <stage>`, `trial`, `precision`, `input <role>`, `code of <own part>`.
        old, new: None where there is none; of an input that nothing is known of, its name.
    """

    key: str
    old: Any
    new: Any


class Lineage:
    """Facts of artifacts, each found once."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._facts: dict[str, Facts] = {}

    def of(self, folder: str) -> Facts:
        """Of an artifact's folder, with those of everything it is made from; empty where nothing is known."""
        if folder not in self._facts:
            recipe = self.shelf.recipe(folder)
            self._facts[folder] = {} if recipe is None else self.of_recipe(recipe)
        return self._facts[folder]

    def of_recipe(self, recipe: Recipe) -> Facts:
        """The same, of a recipe."""
        facts = _own(recipe)
        side = "source" if recipe.stage in ("pretrain_source", "generate_pretext_labels") else "target"
        for role, folder in sorted(recipe.inputs.items(), key=lambda item: item[0] in _NETWORKS):
            if self.shelf.recipe(folder) is None:
                facts[f"{UNKNOWN}{role}"] = folder.rpartition("/")[2]
                continue
            below = self.of(folder)
            facts |= _of_side(below, side) if role == "dataset" else below
        return facts


def changes(old: Facts, new: Facts) -> tuple[Change, ...]:
    """What differs, one entry a cause: a part that is another one has other options, which are not told."""
    keys = [key for key in dict.fromkeys((*old, *new)) if _get(old, key) != _get(new, key)]
    blind = any(key.startswith(UNKNOWN) for key in keys)
    found = []
    for key in keys:
        if _follows(key, old, new):
            continue
        if key.startswith(UNKNOWN):
            found.append(Change(key, old.get(key, "another"), new.get(key, "another")))
        elif not blind or (key in old and key in new):  # else it may be the same: an input's manifest is gone
            found.append(Change(key, _get(old, key), _get(new, key)))
    causes = [change for change in found if not (change.key.startswith(CODE) and None in (change.old, change.new))]
    return tuple(causes or found)  # the code of a part that only one of them has goes with the part


def flat(value: Any, key: str) -> Facts:
    """Settings as dotted keys. A part is its name, its options stand under it; so are parts of a list.

    >>> flat({"encoder": {"name": "resnet8", "width": 4}}, "source")
    {'source.encoder': 'resnet8', 'source.encoder.width': 4}
    >>> flat([{"name": "jigsaw", "gray": 0.5}], "source.tasks")
    {'source.tasks': ('jigsaw',), 'source.tasks.jigsaw.gray': 0.5}
    """
    if isinstance(value, Mapping):
        found: Facts = {key: value["name"]} if "name" in value else {}
        for word, item in value.items():
            if word != "name":
                found |= flat(item, f"{key}.{word}" if key else word)
        return found
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, Mapping) and "name" in item for item in value):
            found = {key: tuple(item["name"] for item in value)}
            for item in value:
                below = flat(item, f"{key}.{item['name']}")
                found |= {word: fact for word, fact in below.items() if word != f"{key}.{item['name']}"}
            return found
        return {key: tuple(_frozen(item) for item in value)}
    return {key: value}


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((word, _frozen(item)) for word, item in value.items())
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _own(recipe: Recipe) -> Facts:
    """What the stage's own settings say, with the keys that a study has for them."""
    settings, facts = recipe.settings, Facts()
    for word, value in settings.items():
        if word == "task":
            inner = dict(value)
            size, name = inner.pop("image_size", None), inner.pop("name", "task")
            facts |= flat(inner, f"source.tasks.{name}")
            facts |= {} if size is None else {"source.dataset.image_size": size}
        elif word == "transfer":
            facts |= flat(members(value, word), word)
        elif word in ("source", "dataset"):
            facts |= flat(value, word)
        else:
            facts |= flat(value, f"target.{word}")
    facts[f"version of {recipe.stage}"] = recipe.version
    if recipe.trial is not None:
        facts["trial"] = recipe.trial
    if recipe.precision != "auto":
        facts["precision"] = recipe.precision
    facts |= {f"{CODE}{name}": version for name, version in recipe.own_code.items()}
    return facts


def _of_side(facts: Facts, side: str) -> Facts:
    """Facts of a dataset, as the source's or the target's."""
    return {f"{side}.{key}" if key.split(".")[0] == "dataset" else key: value for key, value in facts.items()}


def _get(facts: Facts, key: str) -> Any:
    return facts.get(key, "auto" if key == "precision" else None)


def _follows(key: str, old: Facts, new: Facts) -> bool:
    """Whether this differs only since a part above it is another one."""
    words = key.split(".")
    for depth in range(1, len(words)):
        above = ".".join(words[:depth])
        before, after = old.get(above), new.get(above)
        if before == after:
            continue
        is_list = isinstance(before, tuple) or isinstance(after, tuple)
        if not is_list or key not in old or key not in new:
            return True
    return False
