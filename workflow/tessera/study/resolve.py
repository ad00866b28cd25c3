"""Resolves the settings of one cell: scale, method, the study's base and the cell's own, laid over each other.

From the lowest layer to the highest: options of parts at this scale; the scale's budgets; those of the cell's protocol;
the method's preset; the study's base; the preset's `fixed` keys, where the cell names the method; the cell's own
settings. What a study changes of a scale lies right over the scale.

A part that is named anew starts afresh: options of another part are not carried over.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import BaseModel, ValidationError

from tessera import registry
from tessera.errors import StudyError, brief
from tessera.multitask.source import Source
from tessera.parts import named
from tessera.registry import suggest
from tessera.study.files import MOST_ERRORS, describe, errors_of, parse, read_yaml
from tessera.study.overridden import mistakes
from tessera.study.schema import AtScale, Experiment, Method, Scale, Settings, Target
from tessera.study.settings import PARTS, Keys, answers, keys_at, nested, normalized, overlay, slots

M = TypeVar("M", bound=BaseModel)


class NoStandInError(StudyError):
    """A cell names a part that the scale leaves out."""


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


@dataclass(frozen=True, eq=False)
class Presets:
    """Scales and methods that lie under `config/`, each read once: a plan has its own."""

    root: Path
    _read_before: dict[tuple[str, str], BaseModel] = field(default_factory=dict, init=False, repr=False)

    def scale(self, name: str) -> Scale:
        """The scale of this name.

        Raises:
            StudyError: If there is none, or its file says something else.
        """
        return self._once(Scale, "scales", name)

    def check_scale(self, name: str, shown: str) -> None:
        """Refuses a scale's name that a study speaks of and that no file has.

        Raises:
            StudyError: If there is none of this name.
        """
        known = self._known("scales")
        if name not in known:
            raise StudyError(f"{shown}: unknown scale '{brief(name)}'. {suggest(name, known)}")

    def method(self, name: str) -> Method:
        """The method of this name.

        Raises:
            StudyError: If there is none, or its file says something else.
        """
        return self._once(Method, "methods", name)

    def _once(self, model: type[M], kind: str, name: str) -> M:
        if (kind, name) not in self._read_before:
            self._read_before[kind, name] = parse(model, *self._read(kind, name))
        return cast(M, self._read_before[kind, name])

    def _read(self, kind: str, name: str) -> tuple[dict[str, Any], str]:
        known = self._known(kind)
        if name not in known:
            raise StudyError(f"Unknown {kind[:-1]} '{brief(name)}'. {suggest(name, known)}")
        shown = f"config/{kind}/{name}.yaml"
        return read_yaml(self.root / shown, shown), shown

    def _known(self, kind: str) -> list[str]:
        return [item.stem for item in (self.root / "config" / kind).glob("*.yaml")]


class Resolver:
    """Resolves the cells of one study.

    Args:
        presets: Where scales and methods lie.
        scale: The scale's name.
        base: The study's base settings.
        shown: The study's file, for messages.
        at_scale: What the study changes of scales, by name.

    Attributes:
        stood_in: Parts of the study whose place another took, as far as cells were resolved.
        own_parts: Family and name of the parts from outside of Tessera that they name, so far.
    """

    def __init__(
        self,
        presets: Presets,
        scale: str,
        base: Settings,
        shown: str,
        at_scale: Mapping[str, AtScale] = MappingProxyType({}),
    ) -> None:
        self.presets, self.shown, self.scale_name = presets, shown, scale
        answers(base, f"{shown}: base")  # refuses two to one key
        self.base = self._nested(base, f"{shown}: base")
        self._scales = {f"config/scales/{scale}.yaml": presets.scale(scale)}
        if scale in at_scale:
            self._scales[shown] = at_scale[scale]
        self._changes: list[dict[str, Any]] = []
        for name, changes in at_scale.items():
            presets.check_scale(name, f"{shown}: `at_scale`")
            self._changes.append(normalized({"source": changes.source, "target": changes.target}))
        self.stood_in: dict[str, str] = {}
        self.own_parts: set[tuple[str, str]] = set()

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
        place = len(self._scales)
        layers[place:place] = self._protocol_layers(_merged(layers))
        merged = _merged(layers)
        self._use_scale(merged)
        try:
            return Experiment.model_validate(merged)
        except ValidationError as error:
            lines = dict.fromkeys(
                f"{_origin(layers, item['loc'])}: {describe(item, keys_at(merged, item['loc'][:-1]))}"
                for item in errors_of(error, merged)[:MOST_ERRORS]
            )
            raise StudyError("\n".join(lines)) from error

    def untrains(self, cell: Settings) -> bool:
        """Whether the method that a cell names is an encoder without training."""
        name = nested(cell, self.shown).get("source", {}).get("method")
        return isinstance(name, str) and self._method(name, self.shown).source.get("epochs") == 0

    @contextmanager
    def own_parts_explained(self, where: str) -> Iterator[None]:
        """What the options of a part from outside end in is told as any mistake; what Tessera's own do is a bug."""
        try:
            yield
        except StudyError:
            raise
        except Exception as error:
            if not self.own_parts:
                raise
            own = ", ".join(f"`{brief(name)}`" for _, name in sorted(self.own_parts))
            what = f"{type(error).__name__}: {brief(str(error), 200)}"
            raise StudyError(f"{where}: the options of a part of your own ({own}) end in {what}") from error

    def method_of(self, cell: Settings) -> str | None:
        """Name of the source's method in a cell that can be resolved; None where none is named."""
        own = self._nested(cell, self.shown).get("source", {}).get("method")
        method: str | None = own or self.base.get("source", {}).get("method")
        return method

    def mistakes_of_base(self) -> list[str]:
        """One line for each value of the base that is wrong, though every cell may set another; call it at the end.

        So it is for what the study changes of scales, whichever is in use.
        """
        base = deepcopy(self.base)
        method = base.get("source", {}).pop("method", None)
        lines = [line for settings in (base, *self._changes) for line in mistakes(settings, self.own_parts)]
        lines = [f"{self.shown}: {line}" for line in lines]
        try:
            if method is not None:
                self._method(method, self.shown)
        except StudyError as error:
            lines.append(str(error))
        return lines

    def _layers(self, cell: dict[str, Any], where: str) -> list[Layer]:
        cell, base = deepcopy(cell), deepcopy(self.base)
        base_method = base.get("source", {}).pop("method", None)
        cell_method = cell.get("source", {}).pop("method", None)
        method_name = cell_method or base_method
        layers = [
            Layer(origin, normalized({"source": scale.source, "target": scale.target}))
            for origin, scale in self._scales.items()
        ]
        row = f"{self.shown} ({where})"
        if method_name is None:
            return [*layers, Layer(self.shown, base), Layer(row, cell)]
        method = self._method(method_name, row if cell_method else self.shown)
        method_file = f"config/methods/{method_name}.yaml"
        if unknown := [key for key in method.fixed if key not in method.source]:
            raise StudyError(f"{method_file}: `fixed`: '{brief(unknown[0])}' is not set under `source`")
        preset = normalized({"source": method.source})
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

    def _method(self, name: Any, origin: str) -> Method:
        if not isinstance(name, str):
            raise StudyError(f"{origin}: `source.method`: should name a method, but is {brief(repr(name))}")
        try:
            return self.presets.method(name)
        except StudyError as error:
            raise StudyError(f"{origin}: `source.method`: {error}") from error

    def _protocol_layers(self, merged: Mapping[str, Any]) -> list[Layer]:
        """The scale's settings for the protocol that measures this cell."""
        part = merged.get("target", {}).get("protocol", {"name": DEFAULTS["target", "protocol"]})
        name = part.get("name") if isinstance(part, dict) else None  # another form is told when all is validated
        if not isinstance(name, str):
            return []
        return [
            Layer(origin, normalized({"target": scale.protocols.get(name, {})}))
            for origin, scale in self._scales.items()
        ]

    def _use_scale(self, merged: dict[str, Any]) -> None:
        """Stand-ins for datasets, then this scale's options of parts beneath those that were set."""
        for path, default in DEFAULTS.items():
            family = PARTS[path]
            if self._options(family, default) or default in self._stand_ins(family):
                holder = merged.setdefault(path[0], {}) if len(path) > 1 else merged
                part = holder.setdefault(path[-1], {}) if isinstance(holder, dict) else None
                if isinstance(part, dict):  # another form is told when all is validated
                    part.setdefault("name", default)
        for path, family in PARTS.items():
            for holder, key in slots(merged, path):
                part = holder[key]
                if not isinstance(part, dict) or not isinstance(part.get("name"), str):
                    continue  # told when all is validated
                if ":" in part["name"]:
                    self.own_parts.add((family, part["name"]))
                stand_ins = self._stand_ins(family)
                if part["name"] in stand_ins:
                    part = holder[key] = self._stand_in(family, part, stand_ins[part["name"]])
                holder[key] = {**self._options(family, part["name"]), **part}

    def _options(self, family: str, name: str) -> Settings:
        found: Settings = {}
        for scale in self._scales.values():
            found = {**found, **scale.parts.get(family, {}).get(name, {})}
        return found

    def _stand_ins(self, family: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for scale in self._scales.values():
            found = {**found, **scale.stand_ins.get(family, {})}
        return found

    def _stand_in(self, family: str, asked: Settings, stand_in: Any) -> dict[str, Any]:
        if stand_in is None:
            raise NoStandInError(f"scale `{self.scale_name}` has no stand-in for {family} `{asked['name']}`")
        part = dict(named(stand_in, family))
        self.stood_in[asked["name"]] = _described(part)
        carried = registry.find(family, asked["name"]).options.carried
        part |= {key: asked[key] for key in carried if key in asked}
        return part

    def _nested(self, settings: Settings, shown: str) -> dict[str, Any]:
        found = nested(settings, shown)
        for key in ("source", "target"):
            if not isinstance(found.get(key, {}), dict):
                raise StudyError(f"{shown}: `{key}`: should hold settings, but is {brief(repr(found[key]))}")
        return found


def _merged(layers: Iterable[Layer]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = overlay(merged, layer.settings)
    return merged


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
    if (size := part.get("image_size")) is not None:
        words.append(f"{size['height']} x {size['width']} px" if isinstance(size, Mapping) else f"{size} px")
    return ", ".join(words)
