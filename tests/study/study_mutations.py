# ruff: noqa: E501 - a case a line
"""Seeded mistakes in YAML: of a file's text, and of what it says."""

import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

ODD: list[Any] = [
    None, True, [], {}, "", " ", "x" * 10_000, "\x00", "\ud800", "\u202e", "é" * 300, "none", "../../etc/passwd", "..x:y", "os:system",
    "tessera.nowhere:Part", "a.b:c:d", -1, 0, 1, 2, 0.5, -0.0, 10**30, 10**400, 1e300, float("inf"), float("nan"), [None], [[]],
    [1, "a"], {"name": None}, {"name": []}, {"name": "none", "method": "fsp"}, {"x": {"y": {"z": 1}}}, ["a"] * 500, "*", "&a", "jigsaw",
    "random", 2**63, "1e5", "yes", b"\x00", {1: 2}, {None: 1}, {"": 1}, {"a.b": 1}, {"a+b": 1}, "{}", list(range(2_000)),
]  # fmt: skip
LINES = [
    "? [a, b]\n: 1", "{[a]: 1}: 2", "when: 2020-13-45", "when: 2020-01-01", "number: !!int abc", "number: !!float x", "flag: !!bool x",
    "number: " + "9" * 5_000, "deep: " + "[" * 1_500 + "]" * 1_500, "deep: " + "[" * 60 + "]" * 60, "deep: " + "[" * 3_000,
    "a: &a [1, 2]\nb: *a", "a: &a [*a]", "b: *nowhere", "text: \"\\ud800\"", "text: \"\\0\"", "text: \0", "\ttab: 1", "%YAML 9", "---\na: 1",
    "a: !!python/object/apply:os.system [ls]", "a: !!binary '€'", "a: !!set {b}", "a: !!timestamp x", "a: 'open", "a: {b", "- a", ":", "? ",
    "<<: 3", "<<: {title: x}", "a: !unknown b", "a: |\n b", "\x07", "é: ü", "title: twice", "base: {}", "grid: {rows: {a: [1]}}",
    "l0: &l0 [x, x, x, x, x, x, x, x, x]\n" + "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)),
]  # fmt: skip


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from slots(item)


def _misspelt(word: str, chance: random.Random) -> str:
    place = chance.randrange(max(len(word), 1))
    return chance.choice(
        [word[:place] + word[place + 1 :], word[:place] + chance.choice("abz_. +") + word[place:], word.upper()]
    )


def _rename(holder: Any, key: Any, chance: random.Random) -> None:
    if isinstance(holder, dict):
        holder[_misspelt(str(key), chance)] = holder.pop(key)
    elif isinstance(holder[key], str):
        holder[key] = _misspelt(holder[key], chance)


def _misspell(holder: Any, key: Any, chance: random.Random) -> None:
    value = holder[key]
    if isinstance(value, str):
        holder[key] = _misspelt(value, chance)
    elif isinstance(value, int | float):
        other = value + 0.5 if abs(value) < 10**300 else -value  # a change before may have left no float's size
        holder[key] = chance.choice([-value, value * 1_000, str(value), other, [value]])
    elif isinstance(value, list):
        holder[key] = chance.choice(
            [{str(item): index for index, item in enumerate(value)}, value * 2, value * 40, value[:1], value[::-1]]
        )
    elif isinstance(value, dict):
        holder[key] = chance.choice([list(value), list(value.values()), {**value, "extra": 1}, str(value)])


def _swap(holder: Any, key: Any, chance: random.Random) -> None:
    other = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    holder[key], holder[other] = holder[other], holder[key]


def _delete(holder: Any, key: Any, chance: random.Random) -> None:
    del holder[key]


def _odd(holder: Any, key: Any, chance: random.Random) -> None:
    holder[key] = deepcopy(chance.choice(ODD))


def _nest(holder: Any, key: Any, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 2, 30, 100])):
        holder[key] = chance.choice([lambda v: [v], lambda v: {"name": v}, lambda v: {"source": v}])(holder[key])


def _copy(holder: Any, key: Any, chance: random.Random) -> None:
    """A part of the same kind of value from elsewhere, as after a slip of copying."""
    if isinstance(holder, dict):
        holder[
            chance.choice(
                ["source", "target", "transfer", "label", "name", "column", "target.protocol", "source.tasks"]
            )
        ] = holder[key]
    else:
        holder.append(deepcopy(holder[key]))


CHANGES: list[Callable[[Any, Any, random.Random], None]] = [
    _rename,
    _misspell,
    _swap,
    _delete,
    _odd,
    _odd,
    _nest,
    _copy,
]


def mutated(text: str, chance: random.Random) -> str | bytes:
    """A file's text with a mistake or two."""
    if chance.random() < 0.3:
        lines = text.splitlines()
        line = chance.randrange(len(lines) + 1)
        kind = chance.randrange(6)
        if kind < 3:
            lines.insert(line, chance.choice(LINES))
        elif kind == 3:
            lines[line : line + 1] = [" " + item for item in lines[line : line + 1]]
        elif kind == 4:
            lines[line:line] = lines[line : line + 3]
        else:
            return text.encode(chance.choice(["utf-16", "utf-32", "utf-8-sig"]))
        return "\n".join(lines) + "\n"
    content = yaml.safe_load(text)
    for _ in range(chance.choice([1, 1, 2])):
        places = list(slots(content))
        if places:
            holder, key = chance.choice(places)
            chance.choice(CHANGES)(holder, key, chance)
    return yaml.dump(content, allow_unicode=True, sort_keys=False, width=1_000).encode("utf-8", "surrogatepass")


def mutated_config(config: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """What `--config` says, with a mistake or two."""
    content = deepcopy(config)
    content[
        chance.choice(["trials", "scale", "device", "precision", "threads", "gpus", "strict", "data_root", "tracking"])
    ] = deepcopy(chance.choice(ODD))
    for _ in range(chance.choice([0, 1, 2])):
        holder, key = chance.choice(list(slots(content)))
        chance.choice(CHANGES)(holder, key, chance)
    return content


def files(root: Path) -> list[Path]:
    """Every study, scale and method that is shipped."""
    return sorted(path for kind in ("studies", "scales", "methods") for path in (root / "config" / kind).glob("*.yaml"))
