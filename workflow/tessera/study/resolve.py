"""Resolves the settings of one cell: scale, method, the study's base and the cell's own, laid over each other.

From the lowest layer to the highest: options of parts at this scale; the scale's budgets; those of the cell's protocol;
the method's preset; the study's base; the preset's `fixed` keys, where the cell names the method; the cell's own
settings.

A part that is named anew starts afresh: options of another part are not carried over.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from tessera import registry
from tessera.errors import StudyError
from tessera.registry import suggest
from tessera.study.files import describe, dotted, parse, read_yaml
from tessera.study.options import PartOf, named
from tessera.study.schema import Experiment, Method, Scale, Settings, Source, Target

Keys = tuple[str, ...]


class NoStandInError(StudyError):
    """A cell names a part that the scale leaves out."""


def part_paths() -> dict[Keys, str]:
    """Where parts stand in an experiment: path to family. Lists of parts are marked by a last `*`."""
    found: dict[Keys, str] = {}
    for prefix, model in ((("source",), Source), (("target",), Target), ((), Experiment)):
        for name, field in model.model_fields.items():
            for item in field.metadata:
                if isinstance(item, PartOf):
                    found[(*prefix, name)] = item.family
            for argument in get_args(field.annotation):
                for item in getattr(argument, "__metadata__", ()):
                    found[(*prefix, name, "*")] = item.family
    found[NETWORK_ENCODER] = "encoder"
    return found


# A part within a part: a network that detects may name an encoder of its own.
NETWORK_ENCODER: Keys = ("target", "network", "encoder")


PARTS = part_paths()


def _defaults() -> dict[Keys, str]:
    """Names of the parts that an experiment has where nothing names another."""
    models: dict[Keys, type[BaseModel]] = {("source",): Source, ("target",): Target, (): Experiment}
    outer = [path for path in PARTS if path[-1] != "*" and path[:-1] in models]
    fields = {path: models[path[:-1]].model_fields[path[-1]] for path in outer}
    return {path: field.default.name for path, field in fields.items() if not field.is_required()}


DEFAULTS = _defaults()


class Layer(NamedTuple):
    """Settings and where they come from, for messages."""

    origin: str
    settings: Settings


@dataclass(frozen=True)
class Presets:
    """Scales and methods that lie under `config/`."""

    root: Path

    def scale(self, name: str) -> Scale:
        """The scale of this name.

        Raises:
            StudyError: If there is none, or its file says something else.
        """
        return parse(Scale, *self._read("scales", name))

    @cache  # noqa: B019 - a handful of files, read once a plan
    def method(self, name: str) -> Method:
        """The method of this name.

        Raises:
            StudyError: If there is none, or its file says something else.
        """
        return parse(Method, *self._read("methods", name))

    def _read(self, kind: str, name: str) -> tuple[dict[str, Any], str]:
        shown = f"config/{kind}/{name}.yaml"
        path = self.root / shown
        if not name.isidentifier() or not path.is_file():
            known = [item.stem for item in path.parent.glob("*.yaml")]
            raise StudyError(f"Unknown {kind[:-1]} '{name}'. {suggest(name, known)}")
        return read_yaml(path, shown), shown


class Resolver:
    """Resolves the cells of one study.

    Args:
        presets: Where scales and methods lie.
        scale: The scale's name.
        base: The study's base settings.
        shown: The study's file, for messages.

    Attributes:
        stood_in: Parts of the study whose place another took, as far as cells were resolved.
    """

    def __init__(self, presets: Presets, scale: str, base: Settings, shown: str) -> None:
        self.presets, self.shown = presets, shown
        self.scale_name, self.scale = scale, presets.scale(scale)
        self.base = self._nested(base, f"{shown}: base")
        self.stood_in: dict[str, str] = {}

    def resolve(self, cell: Settings, where: str) -> Experiment:
        """The cell's experiment, every option explicit.

        Args:
            cell: Dotted settings of row and column.
            where: Row and column, for messages.

        Raises:
            StudyError: With one line for each thing that is wrong.
            NoStandInError: If the scale leaves out a part that the cell names.
        """
        layers = self._layers(self._nested(cell, f"{self.shown} ({where})"), where)
        layers.insert(1, self._protocol_layer(_merged(layers)))
        merged = _merged(layers)
        self._use_scale(merged)
        try:
            return Experiment.model_validate(merged)
        except ValidationError as error:
            lines = dict.fromkeys(
                f"{_origin(layers, item['loc'])}: {describe(item, _known_keys(merged, item['loc'][:-1]))}"
                for item in error.errors(include_url=False)
            )
            raise StudyError("\n".join(lines)) from error

    def _layers(self, cell: dict[str, Any], where: str) -> list[Layer]:
        cell, base = deepcopy(cell), deepcopy(self.base)
        base_method = base.get("source", {}).pop("method", None)
        cell_method = cell.get("source", {}).pop("method", None)
        method_name = cell_method or base_method
        scale_file = f"config/scales/{self.scale_name}.yaml"
        budgets = _normalized({"source": self.scale.source, "target": self.scale.target})
        layers = [Layer(scale_file, budgets)]
        row = f"{self.shown} ({where})"
        if method_name is None:
            return [*layers, Layer(self.shown, base), Layer(row, cell)]
        if not isinstance(method_name, str):
            raise StudyError(f"{self.shown}: `source.method` should name a method, but is {method_name!r}")
        try:
            method = self.presets.method(method_name)
        except StudyError as error:
            raise StudyError(f"{row if cell_method else self.shown}: `source.method`: {error}") from error
        method_file = f"config/methods/{method_name}.yaml"
        if unknown := [key for key in method.fixed if key not in method.source]:
            raise StudyError(f"{method_file}: `fixed`: '{unknown[0]}' is not set under `source`")
        preset = _normalized({"source": method.source})
        fixed = {"source": {key: preset["source"][key] for key in method.fixed}} if cell_method else {}
        if cell_method:
            base["source"] = {k: v for k, v in base.get("source", {}).items() if k not in method.fixed}
        return [
            *layers,
            Layer(method_file, preset),
            Layer(self.shown, base),
            Layer(method_file, fixed),
            Layer(row, cell),
        ]

    def _protocol_layer(self, merged: Mapping[str, Any]) -> Layer:
        """The scale's settings for the protocol that measures this cell."""
        part = merged.get("target", {}).get("protocol", {"name": DEFAULTS["target", "protocol"]})
        name = part.get("name") if isinstance(part, dict) else None  # another form is told when all is validated
        settings = self.scale.protocols.get(name, {}) if isinstance(name, str) else {}
        return Layer(f"config/scales/{self.scale_name}.yaml", _normalized({"target": settings}))

    def _use_scale(self, merged: dict[str, Any]) -> None:
        """Stand-ins for datasets, then this scale's options of parts beneath those that were set."""
        for path, default in DEFAULTS.items():
            family = PARTS[path]
            if default in self.scale.parts.get(family, {}) or default in self.scale.stand_ins.get(family, {}):
                holder = merged.setdefault(path[0], {}) if len(path) > 1 else merged
                if isinstance(holder, dict):
                    holder.setdefault(path[-1], {}).setdefault("name", default)
        for path, family in PARTS.items():
            for holder, key in _slots(merged, path):
                part = holder[key]
                if not isinstance(part, dict) or not isinstance(part.get("name"), str):
                    continue  # told when all is validated
                stand_ins = self.scale.stand_ins.get(family, {})
                if part["name"] in stand_ins:
                    part = holder[key] = self._stand_in(family, part["name"], stand_ins[part["name"]])
                options = self.scale.parts.get(family, {}).get(part["name"])
                if options is not None:
                    holder[key] = {**options, **part}

    def _stand_in(self, family: str, name: str, stand_in: Any) -> dict[str, Any]:
        if stand_in is None:
            raise NoStandInError(f"scale `{self.scale_name}` has no stand-in for {family} `{name}`")
        part = dict(named(stand_in))
        self.stood_in[name] = _described(part)
        return part

    def _nested(self, settings: Settings, shown: str) -> dict[str, Any]:
        nested: dict[str, Any] = {}
        for keys, value in settings.items():
            for key in keys.split("+"):
                words = key.strip().split(".")
                if not all(words):
                    raise StudyError(f"{shown}: `{keys}`: a dotted key has an empty word")
                leaf: Any = deepcopy(value)
                for word in reversed(words):
                    leaf = {word: leaf}
                nested = overlay(nested, _normalized(leaf))
        for key in ("source", "target"):
            if not isinstance(nested.get(key, {}), dict):
                raise StudyError(f"{shown}: `{key}`: should hold settings, but is {nested[key]!r}")
        return nested


def _merged(layers: Iterable[Layer]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = overlay(merged, layer.settings)
    return merged


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


def _normalized(settings: Mapping[str, Any], path: Keys = ()) -> dict[str, Any]:
    """Every part as a mapping with `name`, so that options can be merged."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        here = (*path, key)
        if here in PARTS:
            part = named(value)
            inner = here == NETWORK_ENCODER[:-1] and isinstance(part, dict)
            found[key] = _normalized(part, here) if inner else part
        elif (*here, "*") in PARTS and isinstance(value, list | tuple):
            found[key] = [named(item) for item in value]
        elif isinstance(value, dict) and len(here) < 2:
            found[key] = _normalized(value, here)
        else:
            found[key] = value
    return found


def _slots(merged: dict[str, Any], path: Keys) -> list[tuple[Any, Any]]:
    holder: Any = merged
    *before, last = path
    for word in before:
        holder = holder.get(word) if isinstance(holder, dict) else None
    if last == "*":
        return [(holder, i) for i in range(len(holder))] if isinstance(holder, list) else []
    return [(holder, last)] if isinstance(holder, dict) and last in holder else []


def _origin(layers: list[Layer], path: tuple[str | int, ...]) -> str:
    """The highest layer that says something at this path, or above it."""
    for depth in range(len(path), 0, -1):
        for layer in reversed(layers):
            holder: Any = layer.settings
            for word in path[:depth]:
                inside = isinstance(holder, dict) and word in holder
                inside = inside or (isinstance(holder, list) and isinstance(word, int) and word < len(holder))
                holder = holder[word] if inside else _ABSENT
            if holder is not _ABSENT:
                return layer.origin
    return layers[-1].origin


_ABSENT = object()


def _described(part: Mapping[str, Any]) -> str:
    """A stand-in in a few words, for the table's caption: what it reads, and how much of it."""
    words = [str(part.get("path", part["name"]))]
    if "classes" in part:
        words.append(f"{len(part['classes'])} of its classes")
    if "train_fraction" in part:
        words.append(f"{part['train_fraction']:.0%} of its training images")
    if "image_size" in part:
        words.append(f"{part['image_size']} px")
    return ", ".join(words)


def _known_keys(merged: dict[str, Any], path: tuple[str | int, ...]) -> list[str]:
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
            model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else model
    known = [key for key in model.model_fields if not (model is not Experiment and key == "name")]
    return [*known, "method"] if dotted(path) == "source" else known
