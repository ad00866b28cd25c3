"""Reads YAML files, and turns what is wrong with them into one line each."""

import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tessera.errors import StudyError, brief
from tessera.registry import suggest

M = TypeVar("M", bound=BaseModel)

MOST_ERRORS = 20  # of one file or cell: the rest is told when these are mended

MOST_BYTES = 200_000
_MOST_VALUES, _DEEPEST = 50_000, 40
_LARGEST_INT, _LARGEST_FLOAT = 2**63 - 1, 3.4e38  # of 64 and of 32 bits: no training reckons with larger ones


class _Loader(yaml.SafeLoader):
    """Says line and column of what SafeLoader would end on, and refuses a key that stands twice: YAML keeps the last.

    Aliases are counted as what they stand for before any of them is, for a few lines of them can stand for billions.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested more than {_DEEPEST} deep", problem_mark=parent.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _measure(node, {}, ())
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # a date that is none, a number that is none: whatever Python's constructors raise
            kind = node.tag.rpartition(":")[2]
            what = f"`{brief(node.value)}` is no {kind}" if isinstance(node.value, str) else str(error)
            raise yaml.MarkedYAMLError(problem=f"{what}: put it in quotes", problem_mark=node.start_mark) from error


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict | set):
            raise yaml.MarkedYAMLError(problem="a key should be a word", problem_mark=key_node.start_mark)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"the key `{brief(key)}` stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], above: tuple[int, ...]) -> tuple[int, int]:
    """How many values a node stands for, and how deep it is nested, its aliases followed."""
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an alias stands within what it stands for", problem_mark=node.start_mark)
    if id(node) not in known:
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [each for item in inner for each in (item if isinstance(item, tuple) else (item,))]
        sizes = [_measure(each, known, (*above, id(node))) for each in parts]
        known[id(node)] = 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
    size, depth = known[id(node)]
    if depth + len(above) > _DEEPEST:
        raise yaml.MarkedYAMLError(problem=f"nested more than {_DEEPEST} deep", problem_mark=node.start_mark)
    if size > _MOST_VALUES:
        problem = f"stands for more than {_MOST_VALUES:,} values, aliases counted as what they stand for"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return size, depth


def read_yaml(path: Path, shown: str) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Args:
        shown: The path as the user knows it, for messages.

    Raises:
        StudyError: If the file cannot be read, is no YAML, or holds something else.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None)
        raise StudyError(f"{shown}: cannot be read: {reason or error}") from error
    if len(text) > MOST_BYTES:
        raise StudyError(f"{shown}: has {len(text):,} letters, more than the {MOST_BYTES:,} that are read: split it")
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        letter = ascii(chr(error.character) if isinstance(error.character, int) else error.character)
        raise StudyError(f"{shown}, line {line}: not valid YAML: the letter {letter} cannot stand in it") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise StudyError(f"{shown}{where}: not valid YAML: {brief(str(problem or error), 300)}") from error
    if not isinstance(content, dict):
        raise StudyError(f"{shown}: should hold `key: value` lines, but holds {type(content).__name__}")
    refuse_odd(content, shown)
    return content


def refuse_odd(content: Mapping[Any, Any], shown: str) -> None:
    """Refuses what no setting can be: keys that are no words, letters of no text, dates, numbers beyond all use.

    Raises:
        StudyError: With the key.
    """
    for path, value in _values(content, ()):
        if (what := _odd(value)) is not None:
            key = f": `{brief(dotted(path))}`" if path else ""
            raise StudyError(f"{shown}{key}: {what}")


def _values(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield (*path, str(key)), _Key(key)
            yield from _values(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _values(item, (*path, index))
    else:
        yield path, value


class _Key:
    """A mapping's key, which is no value."""

    def __init__(self, key: Any) -> None:
        self.key = key


def _odd(value: Any) -> str | None:
    """What is wrong with one value, whatever it is for; None where it may be a setting."""
    if isinstance(value, _Key):
        if not isinstance(value.key, str):
            return f"a key should be a word, but is a {type(value.key).__name__}: put it in quotes"
        return "has a key of more than 300 letters" if len(value.key) > 300 else _odd(value.key)
    if isinstance(value, str):
        odd = next((letter for letter in value if letter not in "\n\t" and unicodedata.category(letter) in _ODD), None)
        return None if odd is None else f"{odd!a} is no letter that text can have"
    if isinstance(value, bool | None):
        return None
    if isinstance(value, int) and abs(value) > _LARGEST_INT:
        return "is a number of more than 64 bits"
    if isinstance(value, float) and math.isfinite(value) and abs(value) > _LARGEST_FLOAT:
        return f"should be at most {_LARGEST_FLOAT:g}, which is what 32 bits hold, but is {value:g}"
    if not isinstance(value, int | float):
        return f"should be a word, a number, a list or settings, but is a {type(value).__name__}: put it in quotes"
    return None


_ODD = ("Cc", "Cs")  # control characters, halves of characters


def parse(model: type[M], content: Mapping[str, Any], shown: str) -> M:
    """Validates a file's content.

    Raises:
        StudyError: With one line for each thing that is wrong.
    """
    refuse_odd(content, shown)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = dict.fromkeys(
            f"{shown}: {describe(item, known_keys(model, item['loc'][:-1]))}"
            for item in errors_of(error, content)[:MOST_ERRORS]
        )
        raise StudyError("\n".join(lines)) from error


def errors_of(error: ValidationError, content: Any) -> list[dict[str, Any]]:
    """The errors of a validation, each placed by the content's own keys.

    Of a choice of types pydantic also names each that it tried, as if it were a key: that is left out, and so is what
    it says of the whole value where another of the types came further into it.
    """
    found, named = list[dict[str, Any]](), list[bool]()
    for item in error.errors(include_url=False):
        place, holder = list[str | int](), content
        for word in item["loc"]:
            inside = word in holder if isinstance(holder, Mapping) else isinstance(holder, list | tuple)
            if inside and (isinstance(holder, Mapping) or (isinstance(word, int) and word < len(holder))):
                place.append(word)
                holder = holder[word]
        if item["type"] in ("missing", "extra_forbidden") and (not place or place[-1] != item["loc"][-1]):
            place.append(item["loc"][-1])  # which is not there
        found.append({**item, "loc": tuple(place)})
        named.append(len(place) < len(item["loc"]))
    places = [item["loc"] for item in found]
    return [
        item
        for item, choice in zip(found, named, strict=True)
        if not (choice and any(place[: len(item["loc"])] == item["loc"] != place for place in places))
    ]


def describe(item: Mapping[str, Any], known: Iterable[str]) -> str:
    """One validation error in a line: the key, what is wrong, what was found.

    Args:
        item: One of `errors_of`.
        known: Keys that could stand where an unknown one was found.
    """
    key = brief(dotted(item["loc"]), 120)
    if item["type"] == "extra_forbidden":
        return f"`{key}`: unknown key. {suggest(str(item['loc'][-1]), known)}"
    if item["type"] == "missing":
        return f"`{key}`: is needed, but missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be", "should be").replace("a valid tuple", "a list")
    found = item.get("input")
    plain = isinstance(found, str | int | float | bool | type(None))
    where = f"`{key}`: " if key else ""  # what is wrong with a whole file names its keys itself
    message = brief(message, 500)
    return f"{where}{message}" + (f", but is {brief(repr(found))}" if plain and item["type"] != "part" else "")


def known_keys(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Keys of the model that stands at a path within a model; of the innermost one that can be told."""
    for word in path:
        field = model.model_fields.get(str(word))
        for part in (field.annotation, *get_args(field.annotation)) if field else ():
            if isinstance(part, type) and issubclass(part, BaseModel):
                model = part
    return list(model.model_fields)


def dotted(path: Iterable[str | int]) -> str:
    """`("source", "tasks", 0)` as `source.tasks[0]`."""
    text = ""
    for word in path:
        text += f"[{word}]" if isinstance(word, int) else f".{word}" if text else str(word)
    return text
