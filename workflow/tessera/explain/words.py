"""What differs, as lines of at most 80 letters."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from tessera.explain.facts import Change

WIDTH = 80
_KEY = 40


def change_lines(changes: Iterable[Change], indent: int = 4) -> list[str]:
    """One line a change: key, old value, new value; a long one in two or more."""
    found = list(changes)
    width = min(_KEY, max((len(change.key) for change in found), default=0))
    lines = []
    for change in found:
        values = f"{shown(change.old)} → {shown(change.new)}"
        line = f"{'':{indent}}{change.key:{width}}  {values}"
        if len(line) <= WIDTH:
            lines.append(line)
            continue
        lines.append(f"{'':{indent}}{change.key}")
        lines += wrapped(values, indent + 4)
    return lines


def wrapped(text: str, indent: int = 0, hanging: int = 0) -> list[str]:
    """Text in lines that fit; a word that is too long is cut."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_on_hyphens=False,
    )


def shown(value: Any) -> str:
    """A value as YAML has it, near enough.

    >>> shown(None), shown(True), shown(("jigsaw", "rotation")), shown("tte"), shown(0.1)
    ('null', 'true', '[jigsaw, rotation]', 'tte', '0.1')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(shown(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def numbers(values: Iterable[int]) -> str:
    """Numbers in order, runs of them short.

    >>> numbers([3, 1, 2, 7])
    '1 to 3, 7'
    """
    runs: list[list[int]] = []
    for value in sorted(set(values)):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def some(words: Sequence[str], most: int = 6) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
