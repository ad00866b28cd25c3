"""What can be set and named, as Markdown: config/README.md, docs/parts.md and the table of parts in README.md."""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tessera import registry
from tessera.data.datasets.options.dense import (
    ClassMapOptions,
    DepthMapOptions,
    DisparityMapOptions,
    ImageSize,
    NormalMapOptions,
)
from tessera.jobs import Comparison, Delta
from tessera.models.encoders.options import EncoderOptions
from tessera.models.weights import Weights
from tessera.multitask.snapshots import SnapshotOptions
from tessera.multitask.source import Source
from tessera.parts import PART_OF
from tessera.registry import Options
from tessera.study.config import Config, DvcConfig, MlflowConfig, Tracking
from tessera.study.files import parse, read_yaml
from tessera.study.json_schema import METHOD, model_schema
from tessera.study.schema import AtScale, Experiment, Grid, Method, Row, Scale, Study, Target
from tessera.training.options import OptimizerOptions

TABLES: dict[str, tuple[tuple[str, type[BaseModel]], ...]] = {
    "The configuration": (("config", Config), ("tracking", Tracking), ("mlflow", MlflowConfig), ("dvc", DvcConfig)),
    "A study": (("study", Study), ("grid", Grid), ("also", Row), ("compare", Comparison), ("delta", Delta)),
    "Settings": (
        ("settings", Experiment),
        ("source", Source),
        ("target", Target),
        ("optimizer", OptimizerOptions),
        ("weights", Weights),
        ("snapshots", SnapshotOptions),
    ),
    "Scales and methods": (("scale", Scale), ("method", Method)),
    "Maps of pixels": (
        ("image_size", ImageSize),
        ("class_map", ClassMapOptions),
        ("depth_map", DepthMapOptions),
        ("disparity_map", DisparityMapOptions),
        ("normal_map", NormalMapOptions),
    ),
}
HEADINGS = {model.__name__: heading for tables in TABLES.values() for heading, model in tables}
HEADINGS[AtScale.__name__] = HEADINGS[Scale.__name__]  # the same keys

INTRODUCTION = """# Every key

Generated from the models in `workflow/tessera/study/schema.py` and `workflow/tessera/multitask/source.py`, and from the
tables of parts. Do not edit it: run `python -m tessera.study.export`.

- `config.yaml` says what to run. `quickstart.yaml` is the same for a first run.
- `studies/` has the studies, `scales/` says how big a run is, `methods/` names combinations of parts.
- `schema.json` is for editors. A study starts with `# yaml-language-server: $schema=../schema.json`; a scale, a
  method or a configuration names `schema.json#/$defs/Scale`, `…/Method` or `…/Config`.

Unknown keys are refused before any job starts. Lengths are in px, fractions are 0 to 1, losses are in nats.
"""
PARTS_INTRODUCTION = """# Methods and parts

Generated from the tables of parts and `config/methods/`. Do not edit it: run `python -m tessera.study.export`.

Each part is named in YAML, and each can be exchanged by one word. The options of each are in
[config/README.md](../config/README.md#parts); what was chosen where a paper is ambiguous, in [methods.md](methods.md).
"""
METHODS_QUESTION = "Which combination of parts, under one name (`source.method`)?"
NOTES = {
    "A study": """Rows and columns, extra rows and `base` hold settings. A key may be nested or dotted:
`source.fusion.window: 3`. A `+` sets several keys together: `source.dataset+target.dataset: cifar10`. A grid written
as a mapping gives every combination of its lists; one written as a list gives a line for each entry, with a `label`
of your choice. Two answers to one key, however they are written, are refused within the base, a row or a column, and so
is a wrong name or value in the base, even where every row sets another. What a row or a column asks for and no job of
the cell does is refused too, such as a transfer where `knn` measures the encoder itself; `base` is for the cells that
use it, and a baseline that names `transfer.method: none` or an untrained encoder stands in columns of sources as well.

Settings are laid over each other, the later over the earlier: options of parts at this scale, budgets of the scale,
the method's preset, `base`, the preset's `fixed` keys where the row or column names the method, and the row's and
column's own. What `at_scale` says of a scale lies over that scale's own file, and beneath all others. Mappings merge; a
part that is named anew starts afresh.""",
    "Settings": """Where the learning rate's beginning does not depend on its end (`optimizer.schedule` is `wsd`, or
`constant` with `warmup` at 0), a training keeps its state where its end begins, in `artifacts/states/`, and a longer
one of the same settings goes on from the longest state there is: of this study, where the shorter training is made
first, or of an earlier one. Keys, figures and, on a processor, bytes are those of a training in one go; a damaged state
is set aside, and without any a training begins anew.

A part is written as its name, or as a mapping with `name` (a transfer may say `method`) and its
options: `tasks: [jigsaw, {name: colorization, neighbors: 10}]`. A list of transfers is one training in which their
terms are added: `transfer: [attention, {method: soft_targets, weight: 0.9}]`.

A part of your own is named `my_package.my_module:MyTask`. Its code is in the keys of the jobs that use it: every source
file of its top-level package (`my_package`), or its own file where it is in none. A change of any of them makes those
jobs anew. A class attribute `version` stands for the code instead: change it when results change, and reformat as you
like.""",
}


def config_reference(root: Path) -> str:
    """The content of config/README.md."""
    parts = [INTRODUCTION.rstrip()]
    for title, tables in TABLES.items():
        parts += [f"## {title}", NOTES.get(title, "")]
        for heading, model in tables:
            parts += [f"### {heading}", _sentence(model), _keys(model)]
    parts += ["## Methods", _methods(root, "methods/"), "## Parts"]
    for family in registry.FAMILIES:
        parts += [f"### {family}", _question(family)]
        for name, part in registry.parts(family).items():
            parts += [f"#### {family}: {name}", _source(part), _layers(part.options), _keys(part.options)]
    return "\n\n".join(part for part in parts if part) + "\n"


def parts_page(root: Path) -> str:
    """The content of docs/parts.md: every method and every part, what it is, where it comes from and where it lies."""
    lines = [
        PARTS_INTRODUCTION.rstrip(),
        "",
        "## Methods",
        "",
        METHODS_QUESTION,
        "",
        _methods(root, "../config/methods/"),
    ]
    for family in registry.FAMILIES:
        lines += ["", f"## {family}", "", _question(family), ""]
        lines += ["| name | what | source | file |", "| --- | --- | --- | --- |"]
        for name, part in registry.parts(family).items():
            path = f"workflow/{part.target.partition(':')[0].replace('.', '/')}.py"
            lines.append(f"| `{name}` | {_cell(part.title)} | {part.paper} | [{Path(path).name}](../{path}) |")
    return "\n".join(lines) + "\n"


def parts_overview(root: Path) -> str:
    """README.md's table of parts: a line for the methods, and one for each family, with the names alone."""
    lines = ["| part | question | names |", "| --- | --- | --- |"]
    methods = [path.stem for path in sorted((root / "config" / "methods").glob("*.yaml"))]
    families = {family: (_question(family), list(registry.parts(family))) for family in registry.FAMILIES}
    for heading, (question, names) in {"Methods": (METHODS_QUESTION, methods), **families}.items():
        link = f"[{heading.lower()}](docs/parts.md#{heading.lower()})"
        lines.append(f"| {link} | {_cell(question)} | {', '.join(f'`{name}`' for name in names)} |")
    return "\n".join(lines)


def _methods(root: Path, link: str) -> str:
    lines = ["| name | what | source | file |", "| --- | --- | --- | --- |"]
    for path in sorted((root / "config" / "methods").glob("*.yaml")):
        shown = f"config/methods/{path.name}"
        method = parse(Method, read_yaml(path, shown), shown)
        lines.append(f"| `{path.stem}` | {_cell(method.title)} | {method.paper} | [{path.name}]({link}{path.name}) |")
    return "\n".join(lines)


def _question(family: str) -> str:
    """What the family answers: the first paragraph of its page, without its name."""
    page = importlib.import_module(registry.FAMILIES[family]).__doc__ or ""
    text = " ".join(page.strip().split("\n\n")[0].split())
    rest = text.partition(": ")[2] or text
    return rest[0].upper() + rest[1:]


def _source(part: registry.Part) -> str:
    return _sentence(part.options) + (f" Source: {part.paper}." if part.paper else "")


def _layers(options: type[BaseModel]) -> str:
    """Of an encoder, what `target.layer` may be: with the options' defaults, where these say it."""
    if not issubclass(options, EncoderOptions):
        return ""
    try:
        layers = options.model_validate({}).layers
    except ValidationError:  # some have no defaults
        return ""
    return f"Layers, from the input on: {', '.join(f'`{layer}`' for layer in layers)}." if layers else ""


def _sentence(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _keys(model: type[BaseModel]) -> str:
    rows = list(_rows(model))
    if not rows:
        return "No options."
    return "\n".join(["| key | meaning | values | default |", "| --- | --- | --- | --- |", *rows])


def _rows(model: type[BaseModel]) -> Iterator[str]:
    properties = model_schema(model)["properties"]
    if model is Source:
        yield f"| `method` | {METHOD['description']} | text | none |"
    for name, field in model.model_fields.items():
        if name == "name" and issubclass(model, Options):
            continue
        default = "needed" if field.is_required() else default_text(field.get_default(call_default_factory=True))
        cells = (f"`{name}`", _meaning(field), type_text(properties[name]), default)
        yield f"| {' | '.join(map(_cell, cells))} |"


def _meaning(field: FieldInfo) -> str:
    model = field.annotation
    own = _sentence(model) if isinstance(model, type) and issubclass(model, BaseModel) else ""
    return field.description or own


def type_text(schema: Mapping[str, Any]) -> str:
    """What values a key takes, in words.

    >>> type_text({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
    'number, 0 or more, below 1'
    >>> type_text({"type": "array", "items": {"type": "array", "prefixItems": [{"type": "string"}] * 2}})
    'list of [text, text]'
    >>> type_text({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]})
    '`a`, `b` or null'
    """
    if PART_OF in schema:
        return f"[{schema[PART_OF]}](#{schema[PART_OF]})"
    if "$ref" in schema:
        heading = HEADINGS[schema["$ref"].rpartition("/")[2]]
        return f"[{heading}](#{heading})"
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(type_text(choice) for choice in choices)
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(map(type_text, schema['prefixItems']))}]"
    if kind == "array":
        return f"list of {type_text(schema.get('items', {}))}"
    if kind == "object":
        inner = schema.get("additionalProperties", next(iter(schema.get("patternProperties", {}).values()), None))
        return f"mapping to {type_text(inner)}" if isinstance(inner, dict) else "settings"
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true, false", "null": "null"}
    return words.get(str(kind), "any value") + "".join(_bounds(schema))


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    for key, words in (
        ("minimum", "{} or more"),
        ("exclusiveMinimum", "above {}"),
        ("maximum", "at most {}"),
        ("exclusiveMaximum", "below {}"),
    ):
        if key in schema:
            yield ", " + words.format(f"{schema[key]:g}")


def default_text(value: Any) -> str:
    """A default as it would stand in YAML; of nested options, what differs from their own defaults.

    >>> default_text(None), default_text(True), default_text((0.5, 0.75)), default_text("auto")
    ('null', 'true', '[0.5, 0.75]', '`auto`')
    """
    if value is PydanticUndefined or value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Options):
        return f"`{value.name}`"
    if isinstance(value, BaseModel):
        changed = {k: v for k, v in value if v != type(value).model_fields[k].default}
        return ", ".join(f"{k}: {default_text(v)}" for k, v in changed.items()) or "its own defaults"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(default_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{}" if not value else str(value)
    if value == "":
        return "empty"
    return f"`{value}`" if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
