"""The errors that a user can mend. Each message names the file or key, what was found and what to do."""

_MOST_LETTERS, _MOST_LINES, _LINE = 1_800, 20, 600


def brief(value: object, most: int = 80) -> str:
    """A value or a word as a message repeats it: in one line, and no longer than this.

    >>> brief("tte"), brief(["a", None]), brief("a" * 100, 10)
    ('tte', "['a', None]", 'aaaaaaa…aa')
    """
    text = value if isinstance(value, str) else repr(value)
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[: 4 * most])
    return text if len(text) <= most else f"{text[: most - 3]}…{text[-2:]}"


def in_short(message: str) -> str:
    """A message that can be read: lines that are too long lose their middle, and too many their end."""
    lines = [line if len(line) <= _LINE else f"{line[: _LINE - 200]} … {line[-190:]}" for line in message.splitlines()]
    kept: list[str] = []
    for line in lines[:_MOST_LINES]:
        if sum(len(other) + 1 for other in kept) + len(line) > _MOST_LETTERS:
            break
        kept.append(line)
    more = len(lines) - len(kept)
    return "\n".join([*kept, f"… and {more} more lines like these"] if more else kept)


class TesseraError(Exception):
    """Something that the user can mend; shown as one line, never as a traceback."""


class StudyError(TesseraError, ValueError):
    """A configuration, study, scale or method file that does not say something sensible."""


class DataError(TesseraError):
    """Images, labels or archives that are missing, damaged or unfit."""


class ArtifactError(TesseraError):
    """An artifact that is missing, incomplete or damaged."""


class DivergedError(TesseraError):
    """Weights or figures that are not finite, found by who does not know what they were trained with.

    Whoever knows it adds what to do, unless it is said already.

    Args:
        message: What is not finite.
        cure: What to do, where another learning rate would not help.
    """

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.cure = cure
