"""What settings are: paths of words, with parts at some of them. Dotted keys, and settings laid over others."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, get_args

from pydantic import BaseModel

from tessera import registry
from tessera.errors import StudyError, brief
from tessera.multitask.source import Source
from tessera.parts import named, parts_of
from tessera.study.files import dotted
from tessera.study.schema import Experiment, Settings, Target

Keys = tuple[str, ...]


def part_paths() -> dict[Keys, str]:
    """Where parts stand in an experiment, outer ones first: path to family. A list's parts are marked by a `*`."""
    found: dict[Keys, str] = {}
    for prefix, model in ((("source",), Source), (("target",), Target), ((), Experiment)):
        for path, family in parts_of(model).items():
            found |= _within((*prefix, *path), (family,))
    return found


def _within(path: Keys, families: tuple[str, ...]) -> dict[Keys, str]:
    """A part's path and those of the parts within it, such as the encoder that a network stands on.

    Args:
        families: Of the parts on the path. One that holds parts of its own family is followed once.
    """
    found = {path: families[-1]}
    if families.count(families[-1]) < 2:
        for part in registry.parts(families[-1]).values():
            for inner, family in parts_of(part.options).items():
                found |= _within((*path, *inner), (*families, family))
    return found


PARTS = part_paths()
MOST_SETTINGS, _DEEPEST = 1_000, 20


class Answers:
    """Values that settings give: paths, and how each is written."""

    def __init__(self) -> None:
        self.written: dict[Keys, str] = {}
        self._below: dict[Keys, Keys] = {}

    def add(self, path: Keys, written: str) -> None:
        """Takes one in."""
        self.written[path] = written
        for length in range(len(path)):
            self._below.setdefault(path[:length], path)

    def clashing(self, path: Keys) -> Keys | None:
        """A path that leads to the same value, into it, or to one that this path leads into."""
        if path in self._below:
            return self._below[path]
        return next((path[:length] for length in range(1, len(path) + 1) if path[:length] in self.written), None)


def answers(settings: Settings, shown: str) -> dict[Keys, str]:
    """Every value that settings give: its path, and how it is written.

    Args:
        settings: Nested, or with dotted keys, of which `+` joins several.
        shown: The file and the place in it, for messages.

    Raises:
        StudyError: If a key has an empty word, or if two keys answer one question.
    """
    found = Answers()
    for keys, value in settings.items():
        for words in paths_of(keys, shown):
            for path in _leaves(normalized(_leaf(words, value))):
                written = brief(_written(keys, words, path))
                if other := found.clashing(path):
                    raise StudyError(
                        f"{shown}: `{spelled(min(path, other, key=len))}` is set twice, by `{found.written[other]}` "
                        f"and by `{written}`: keep one of them"
                    )
                found.add(path, written)
                if len(found.written) > MOST_SETTINGS:
                    raise StudyError(f"{shown}: more than {MOST_SETTINGS:,} settings stand here")
    return found.written


def nested(settings: Settings, shown: str) -> dict[str, Any]:
    """Dotted keys as nested mappings, every part as a mapping with `name`. Later keys lie over earlier ones."""
    found: dict[str, Any] = {}
    for keys, value in settings.items():
        for words in paths_of(keys, shown):
            found = overlay(found, normalized(_leaf(words, value)))
    return found


def paths_of(keys: str, shown: str) -> list[Keys]:
    """The paths that a dotted key names, several where `+` joins them."""
    paths = [tuple(key.strip().split(".")) for key in keys.split("+")]
    if not all(word for path in paths for word in path):
        raise StudyError(f"{shown}: `{brief(keys) or ' '}`: a dotted key has an empty word")
    if any(len(path) > _DEEPEST for path in paths):
        raise StudyError(f"{shown}: `{brief(keys)}`: a dotted key has more than {_DEEPEST} words")
    return paths


def spelled(path: Keys) -> str:
    """The path as a study has it: a part's name stands for the part."""
    return dotted(path[:-1] if path[-1] == "name" and path[:-1] in PARTS else path)


def _leaf(words: Keys, value: Any) -> Any:
    leaf: Any = deepcopy(value)
    for word in reversed(words):
        leaf = {word: leaf}
    return leaf


def _leaves(settings: Mapping[str, Any], path: Keys = ()) -> Iterator[Keys]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)


def _written(keys: str, words: Keys, path: Keys) -> str:
    """How a study writes a value: `source.dataset+target.dataset`, or `source: {dataset: …}`."""
    inner = path[len(words) : -1 if path[-1] == "name" and path[:-1] in PARTS else None]
    text = "…"
    for word in reversed(inner):
        text = f"{{{word}: {text}}}"
    return f"{keys}: {text}" if inner else keys


def overlay(below: Mapping[str, Any], above: Mapping[str, Any], path: Keys = ()) -> dict[str, Any]:
    """Lays settings over others: mappings merge, lists and values replace, a part named anew starts afresh."""
    merged = dict(below)
    for key, value in above.items():
        old, here = merged.get(key), (*path, key)
        if isinstance(value, dict) and isinstance(old, dict):
            renamed = here in PARTS and "name" in value and value["name"] != old.get("name", value["name"])
            merged[key] = dict(value) if renamed else overlay(old, value, here)
        else:
            merged[key] = value
    return merged


def normalized(settings: Mapping[str, Any], path: Keys = ()) -> dict[str, Any]:
    """Every part as a mapping with `name`, so that options can be merged."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        here = (*path, key)
        if here in PARTS:
            found[key] = _named(value, here)
        elif (*here, "*") in PARTS and isinstance(value, list | tuple):
            found[key] = [_named(item, (*here, "*")) for item in value]
        elif isinstance(value, dict) and len(here) < 2:
            found[key] = normalized(value, here)
        else:
            found[key] = value
    return found


def _named(value: Any, here: Keys) -> Any:
    """A part as a mapping with `name`, and the parts within it likewise."""
    part = named(value, PARTS[here])
    return normalized(part, here) if isinstance(part, dict) else part


def slots(merged: dict[str, Any], path: Keys) -> list[tuple[Any, Any]]:
    """Where the part of a path stands in settings: its holder, and its key or place there."""
    holders: list[Any] = [merged]
    *before, last = path
    for word in before:
        holders = [holder[key] for holder in holders for key in _keys(holder, word)]
    return [(holder, key) for holder in holders for key in _keys(holder, last)]


def _keys(holder: Any, word: str) -> list[Any]:
    """The keys of a mapping or a list that a word of a path stands for."""
    if word == "*":
        return list(range(len(holder))) if isinstance(holder, list) else []
    return [word] if isinstance(holder, dict) and word in holder else []


def keys_at(merged: Mapping[str, Any], path: tuple[str | int, ...]) -> list[str]:
    """Keys that may stand at a path of an experiment."""
    holder: Any = merged
    model: type[BaseModel] = Experiment
    for index, word in enumerate(path):
        holder = holder[word]
        family = PARTS.get(tuple("*" if isinstance(w, int) else w for w in path[: index + 1]))
        if family is not None:
            model = registry.find(family, str(holder["name"])).options
        elif not isinstance(word, int):
            annotation = model.model_fields[word].annotation if word in model.model_fields else None
            inner = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    known = [key for key in model.model_fields if not (model is not Experiment and key == "name")]
    return [*known, "method"] if dotted(path) == "source" else known
