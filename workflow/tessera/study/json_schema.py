"""The JSON schema of studies, scales, methods and the configuration, for editors.

It is a little more generous than the program: a part may leave out what a method or a scale gives. The program has the
last word, and says it before any job starts.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from tessera import registry
from tessera.jobs import Comparison, Delta
from tessera.multitask.source import Source
from tessera.parts import PART_OF
from tessera.study.config import Config
from tessera.study.schema import AtScale, Experiment, Grid, Method, Row, Scale, Study, Target

Schema = dict[str, Any]
DIALECT = "http://json-schema.org/draft-07/schema#"
METHOD = {"type": "string", "description": "Preset of parts: a name under config/methods; other keys lie over it."}


def json_schema() -> Schema:
    """The whole schema; its root is a study, and `$defs` has Config, Scale, Method and every part."""
    definitions = {**_models(), **_parts()}
    definitions["Source"]["properties"] = {"method": METHOD, **definitions["Source"]["properties"]}
    keys = _dotted_keys(definitions)
    definitions["Settings"] = _closed("Settings that every cell shares; nested, or with dotted keys.", keys)
    definitions["GridLine"] = _closed("Settings of one row or column.", {"label": _text("Its name."), **keys})
    definitions["Row"] = _row(definitions["Row"], keys)
    definitions["Grid"] = _grid(definitions["Grid"], keys)
    study = definitions.pop("Study")
    study["properties"]["base"] = {**study["properties"]["base"], **_ref("Settings")}
    for scale in ("Scale", "AtScale"):
        _scale(definitions[scale]["properties"])
    _method(definitions["Method"]["properties"])
    studies = definitions["Config"]["properties"]["studies"]
    definitions["Config"]["properties"]["studies"] = {
        "anyOf": [{"type": "string"}, {key: value for key, value in studies.items() if key != "description"}],
        "description": studies["description"],
    }
    ordered = {name: definitions[name] for name in sorted(definitions)}
    found: Schema = _with_parts({"$schema": DIALECT, "title": "Tessera study", **study, "$defs": ordered})
    return found


def model_schema(model: type[BaseModel]) -> Schema:
    """One model as pydantic describes it; a part's field holds the family under the key `PART_OF`."""
    schema: Schema = _untitled(model.model_json_schema())
    return schema


def _models() -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for model in (Config, Study, Grid, Row, Comparison, Delta, Experiment, Source, Target, Scale, AtScale, Method):
        schema = model_schema(model)
        found.update(schema.pop("$defs", {}))
        found[model.__name__] = schema
    del found["Experiment"]
    for name in ("Source", "Target"):  # what a cell must say in the end, no single file has to say
        found[name].pop("required", None)
    return found


def _parts() -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for family in registry.FAMILIES:
        table = registry.parts(family)
        for name, part in table.items():
            schema = model_schema(part.options)
            found.update(schema.pop("$defs", {}))
            schema.pop("required", None)
            if family == "transfer":
                schema["properties"]["method"] = schema["properties"]["name"]
            found[f"{family}.{name}"] = schema
        found[family] = {
            "anyOf": [
                _names(family),
                *(_ref(f"{family}.{name}") for name in table),
                *_listed(family),
                {
                    "type": "object",
                    "properties": {"name": {"type": "string", "pattern": ".+:.+"}},
                    "required": ["name"],
                    "description": "A part of your own, with its options.",
                },
            ]
        }
    return found


def _listed(family: str) -> list[Schema]:
    """Several parts in one, where a list stands for them."""
    if (several := registry.several(family)) is None:
        return []
    one = {"anyOf": [_names(family), *(_ref(f"{family}.{name}") for name in registry.parts(family) if name != several)]}
    return [{"type": "array", "items": one, "minItems": 1, "description": "Several at once; their terms are added."}]


def _names(family: str) -> Schema:
    table = registry.parts(family)
    own = {"type": "string", "pattern": ".+:.+", "description": "A part of your own: package.module:Class"}
    return {"anyOf": [{"type": "string", "enum": sorted(table)}, own]}


def _dotted_keys(definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """What may stand as a key of settings: `source`, `source.method`, …; deeper ones by pattern."""
    keys: dict[str, Schema] = {
        "source": _ref("Source"),
        "transfer": _ref("transfer"),
        "target": _ref("Target"),
        "transfer.method": _names("transfer"),
    }
    for name in ("Source", "Target"):
        for key, schema in definitions[name]["properties"].items():
            keys[f"{name.lower()}.{key}"] = {k: v for k, v in schema.items() if k != "default"}
    return keys


def _pattern() -> str:
    """Dotted keys of any depth that start with a known one, several joined by `+`."""
    source, target = "|".join(["method", *Source.model_fields]), "|".join(Target.model_fields)
    one = rf"((source\.({source})|target\.({target})|transfer)(\.\w+)*|source|target)"
    return rf"^{one}(\+{one})*$"


def _closed(description: str, keys: Mapping[str, Schema], *, listed: bool = False) -> Schema:
    """An object with these keys, dotted ones below them, and no other."""
    any_value: Schema = {"type": "array"} if listed else {}
    properties = {key: {"type": "array", "items": value} for key, value in keys.items()} if listed else dict(keys)
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "patternProperties": {_pattern(): any_value},
        "additionalProperties": False,
    }


def _row(row: Schema, keys: Mapping[str, Schema]) -> Schema:
    return {**_closed(row["description"], {**row["properties"], **keys}), "required": ["label"]}


def _grid(grid: Schema, keys: Mapping[str, Schema]) -> Schema:
    product = _closed("Every combination of the listed values.", keys, listed=True)
    lines = {"type": "array", "items": _ref("GridLine")}
    for side in grid["properties"].values():
        side["anyOf"] = [product, lines]
    return grid


def _scale(properties: Schema) -> None:
    for side in ("source", "target"):
        properties[side] = {**properties[side], **_ref(side.title())}
    families = {
        family: {
            "type": "object",
            "properties": {name: _ref(f"{family}.{name}") for name in registry.parts(family)},
            "patternProperties": {".+:.+": {"type": "object"}},
            "additionalProperties": False,
        }
        for family in registry.FAMILIES
    }
    settings = {"allOf": [_ref("Target"), {"not": {"required": ["protocol"]}}]}
    properties["protocols"] = {
        "type": "object",
        "description": properties["protocols"]["description"],
        "properties": dict.fromkeys(registry.parts("protocol"), settings),
        "patternProperties": {".+:.+": settings},
        "additionalProperties": False,
    }
    properties["parts"] = {
        "type": "object",
        "description": properties["parts"]["description"],
        "properties": families,
        "additionalProperties": False,
    }
    properties["stand_ins"] = {
        "type": "object",
        "description": properties["stand_ins"]["description"],
        "properties": {
            family: {"type": "object", "additionalProperties": {"anyOf": [_ref(family), {"type": "null"}]}}
            for family in registry.FAMILIES
        },
        "additionalProperties": False,
    }


def _method(properties: Schema) -> None:
    properties["source"] = {**properties["source"], **_ref("Source")}
    properties["fixed"]["items"] = {"type": "string", "enum": sorted(Source.model_fields)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _with_parts(value: Any) -> Any:
    """Replaces the placeholders of parts by references to their families."""
    if isinstance(value, dict):
        kept = {key: _with_parts(item) for key, item in value.items() if key != PART_OF}
        return {**_ref(value[PART_OF]), **kept} if PART_OF in value else kept
    return [_with_parts(item) for item in value] if isinstance(value, list) else value


def _untitled(value: Any, inside_properties: bool = False) -> Any:
    """Without the titles that pydantic makes of names, and with each docstring in one line."""
    if isinstance(value, list):
        return [_untitled(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {
        key: _untitled(item, inside_properties=key in ("properties", "$defs") and not inside_properties)
        for key, item in value.items()
        if inside_properties or key != "title"
    }
    if not inside_properties and isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    return found


def dump(schema: Schema) -> str:
    """The schema as it stands in config/schema.json."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
