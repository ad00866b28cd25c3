"""What is wrong with settings that no cell uses, since every row or column sets something else.

A cell's own validation sees what is left when all layers lie over each other. A wrong name is wrong beneath them as
well, and would be met by the next edit. So the base is also looked at alone, as far as that can be: values and options
of parts that it names, but not whether it is complete, nor whether its parts fit together.
"""

from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from tessera import registry
from tessera.parts import PartOf
from tessera.registry import Options
from tessera.study.files import describe, dotted, errors_of
from tessera.study.schema import Experiment
from tessera.study.settings import PARTS, keys_at, slots


def mistakes(settings: Mapping[str, Any], own_parts: Collection[tuple[str, str]]) -> Iterator[str]:
    """One line for each value that is wrong whatever lies over it, without the file it is from.

    Args:
        settings: Nested settings, every part a mapping; without `source.method`.
        own_parts: Family and name of the parts from outside that the study's cells use.
    """
    alone = deepcopy(dict(settings))
    for path, family in PARTS.items():
        for holder, key in slots(alone, path):
            part = holder[key]
            if path[-1] != "*" and isinstance(part, dict) and "name" not in part:
                # A method or a row says which part it is: the option should be one of some part of the family.
                yield from _of_some_part(part, path, family, own_parts)
                del holder[key]
    try:
        Experiment.model_validate(alone)
    except ValidationError as error:
        for item in errors_of(error, alone):
            if _stands_alone(item, alone):
                yield describe(item, keys_at(alone, item["loc"][:-1]))


def _of_some_part(
    part: Mapping[str, Any], path: tuple[str, ...], family: str, own_parts: Collection[tuple[str, str]]
) -> Iterator[str]:
    names = [*registry.parts(family), *(name for of, name in own_parts if of == family)]
    models = {name: registry.find(family, name).options for name in names}
    for key, value in part.items():
        having = [name for name, model in models.items() if key in model.model_fields]
        if not having:
            known = {key for model in models.values() for key in model.model_fields} - {"name"}
            yield f"`{dotted((*path, key))}`: unknown key. {registry.suggest(key, known)}"
            continue
        wrong = [_wrong(family, models[name], name, key, value) for name in having]
        if all(wrong):
            yield describe({**wrong[0], "loc": (*path, *wrong[0]["loc"])}, ())


def _wrong(family: str, model: type[Options], name: str, key: str, value: Any) -> dict[str, Any]:
    """pydantic's first error with this value of a part's option; empty where there is none."""
    try:
        PartOf(family).parse({"name": name, key: value})
    except ValidationError as error:
        for item in errors_of(error, {"name": name, key: value}):
            if item["loc"] and item["loc"][0] == key and item["type"] != "missing":
                return item
    return {}


def _stands_alone(item: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether an error is about one value: not about one that is missing, or about several that do not go together."""
    if item["type"] in ("extra_forbidden", "part"):
        return True
    found: Any = settings
    for word in item["loc"]:
        try:
            found = found[word]
        except (KeyError, IndexError, TypeError):
            break
    return item["type"] != "missing" and not isinstance(found, dict)
