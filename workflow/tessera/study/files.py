"""Reads YAML files, and turns what is wrong with them into one line each."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tessera.errors import StudyError
from tessera.registry import suggest

M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"the key `{key}` stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path, shown: str) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Args:
        shown: The path as the user knows it, for messages.

    Raises:
        StudyError: If the file cannot be read, is no YAML, or holds something else.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise StudyError(f"{shown}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise StudyError(f"{shown}{where}: not valid YAML: {problem or error}") from error
    if not isinstance(content, dict):
        raise StudyError(f"{shown}: should hold `key: value` lines, but holds {type(content).__name__}")
    return content


def parse(model: type[M], content: Mapping[str, Any], shown: str) -> M:
    """Validates a file's content.

    Raises:
        StudyError: With one line for each thing that is wrong.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [
            f"{shown}: {describe(item, known_keys(model, item['loc'][:-1]))}"
            for item in error.errors(include_url=False)
        ]
        raise StudyError("\n".join(lines)) from error


def describe(item: Mapping[str, Any], known: Iterable[str]) -> str:
    """One validation error in a line: the key, what is wrong, what was found.

    Args:
        item: One entry of `ValidationError.errors()`.
        known: Keys that could stand where an unknown one was found.
    """
    key = dotted(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"`{key}`: unknown key. {suggest(str(item['loc'][-1]), known)}"
    if item["type"] == "missing":
        return f"`{key}`: is needed, but missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be", "should be")
    found = item.get("input")
    plain = isinstance(found, str | int | float | bool | type(None))
    where = f"`{key}`: " if key else ""  # what is wrong with a whole file names its keys itself
    return f"{where}{message}" + (f", but is {found!r}" if plain and item["type"] != "part" else "")


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
