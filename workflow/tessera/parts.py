"""Field types for parts: a name, or a name with options; resolved through the family's table."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tessera import registry
from tessera.errors import StudyError
from tessera.registry import Checked, Options

PART_OF = "x-part-of"


def named(value: Any) -> Any:
    """`jigsaw` means `{name: jigsaw}`; a transfer says `method` for its name."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "method" in value and "name" not in value:
        return {"name": value["method"], **{key: item for key, item in value.items() if key != "method"}}
    return value


@dataclass(frozen=True)
class PartOf:
    """Validates a name, or a mapping with one, into the options model that the family's table gives it."""

    family: str

    def parse(self, value: Any) -> Any:
        if isinstance(value, Options):
            return value
        value = named(value)
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
