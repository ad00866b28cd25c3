"""Generates what the models already say: config/schema.json, config/README.md, docs/parts.md, and README.md's table.

`python -m tessera.study.export` writes them; `--check` only says whether they are current.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from tessera.errors import StudyError, TesseraError
from tessera.study.json_schema import dump, json_schema
from tessera.study.reference import config_reference, parts_overview, parts_page

ROOT = Path(__file__).parents[3]
COMMAND = "python -m tessera.study.export"
BEGIN, END = "<!-- parts:begin -->", "<!-- parts:end -->"


def generated(root: Path) -> dict[str, str]:
    """Every generated file: path under the root, and what it should hold.

    Raises:
        StudyError: If README.md lacks the markers of its generated block, or a method is not valid.
    """
    readme = (root / "README.md").read_text(encoding="utf-8")
    return {
        "config/schema.json": dump(json_schema()),
        "config/README.md": config_reference(root),
        "docs/parts.md": parts_page(root),
        "README.md": _between_markers(readme, parts_overview(root)),
    }


def stale(root: Path) -> str:
    """How the files differ from what they should hold, as a diff; empty if all are current."""
    changes = []
    for name, text in generated(root).items():
        path = root / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = (old.splitlines(), text.splitlines())
        changes += list(difflib.unified_diff(*lines, f"{name} (is)", f"{name} (should be)", n=1, lineterm=""))
        if lines[0] == lines[1] and old != text:
            changes.append(f"{name}: line ends differ")
    return "\n".join(changes)


def export(root: Path) -> list[str]:
    """Writes the files that are not current, and returns their names."""
    written = []
    for name, text in generated(root).items():
        path = root / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(name)
    return written


def _between_markers(text: str, block: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise StudyError(f"README.md: needs the lines {BEGIN} and {END}, between which the table of parts is written.")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not current")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.check:
            if changes := stale(root):
                print(f"{changes}\n\nNot current. Run: {COMMAND}", file=sys.stderr)
                return 1
            return 0
        for name in export(root):
            print(f"wrote {name}")
    except TesseraError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
