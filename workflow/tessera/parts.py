"""Field types for parts: a name, or a name with options; resolved through the family's table."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tessera import registry
from tessera.errors import StudyError
from tessera.registry import Checked, Options

PART_OF = "x-part-of"


def named(value: Any, family: str) -> Any:
    """`jigsaw` means `{name: jigsaw}`; a transfer says `method` for its name.

    A list of parts is the part that its family has for several at once; a list of one is that one.
    """
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, list | tuple) and (several := registry.several(family)) is not None:
        return named(value[0], family) if len(value) == 1 else {"name": several, "of": list(value)}
    if isinstance(value, dict) and "method" in value and "name" not in value:
        return {"name": value["method"], **{key: item for key, item in value.items() if key != "method"}}
    return value


def members(value: Any, family: str) -> Any:
    """The list that a part of the family stands for, of settings as they are kept; any other part as it is.

    >>> members({"name": "combination", "of": [{"name": "pkt"}, {"name": "lwf"}]}, "transfer")
    [{'name': 'pkt'}, {'name': 'lwf'}]
    >>> members({"name": "pkt"}, "transfer")
    {'name': 'pkt'}
    """
    several = registry.several(family)
    return value["of"] if several is not None and isinstance(value, dict) and value.get("name") == several else value


@dataclass(frozen=True)
class PartOf:
    """Validates a name, or a mapping with one, into the options model that the family's table gives it."""

    family: str

    def parse(self, value: Any) -> Any:
        if isinstance(value, Options):
            return value
        value = named(value, self.family)
        if not isinstance(value, dict) or "name" not in value:
            known = ", ".join(sorted(registry.parts(self.family)))
            raise PydanticCustomError(
                "part", "should name one {family} of: {known}", {"family": self.family, "known": known}
            )
        try:
            part = registry.find(self.family, str(value["name"]))
        except StudyError as error:
            raise PydanticCustomError("part", "{message}", {"message": str(error)}) from None
        base = registry.base(self.family)
        if ":" in part.target and not issubclass(part.options, base):
            message = f"the `Options` of `{part.target}` should be a subclass of {base.__module__}.{base.__name__}"
            raise PydanticCustomError("part", "{message}", {"message": message})
        return _adapter(part.options).validate_python(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.parse, core_schema.is_instance_schema(
            Options, serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
        ))  # fmt: skip

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        # A placeholder: tessera.study.json_schema puts the family's parts in its place.
        return {PART_OF: self.family}


def parts_of(model: type[Checked]) -> dict[tuple[str, ...], str]:
    """Where parts stand in a model, by its annotations: path to family. A list's parts are marked by a last `*`."""
    found: dict[tuple[str, ...], str] = {}
    for name, field in model.model_fields.items():
        families = [item.family for item in field.metadata if isinstance(item, PartOf)]
        for family in families:
            found[(name,)] = family
        for path, family in () if families else _families(field.annotation):
            found[(name, *path)] = family
    return found


def _families(annotation: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Families that an annotation names, beneath a list or beside None: the path to them, and the family."""
    listed = get_origin(annotation) in (tuple, list)
    for argument in get_args(annotation):
        for item in getattr(argument, "__metadata__", ()):
            if isinstance(item, PartOf):
                yield ("*",) if listed else (), item.family
        if get_origin(argument) in (Union, UnionType, tuple, list):
            for path, family in _families(argument):
                yield ("*", *path) if listed else path, family


Place = tuple[str | int, ...]


def models_in(model: Checked, place: Place = ()) -> Iterator[tuple[Place, Checked]]:
    """A model and every model within it, parts of parts too, outer ones first: where it stands, and itself."""
    yield place, model
    for name, value in model:
        listed = isinstance(value, tuple | list)
        for index, item in enumerate(value if listed else (value,)):
            if isinstance(item, Checked):
                yield from models_in(item, (*place, name, index) if listed else (*place, name))


def _dump(value: Options, info: Any) -> dict[str, Any]:
    return value.model_dump(mode=info.mode)


@cache
def _adapter(options: type[Options]) -> TypeAdapter[Options]:
    return TypeAdapter(options)
