"""The curves of a study's trainings in one file, for `dvc plots` and for spreadsheets."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

HEADER = ("artifact", "stage", "epoch", "name", "value")


def curves(root: Path, folders: Iterable[str]) -> str:
    """Long format: one line for each figure of each epoch of each training, in the plan's order.

    The stage is the folder's (`source`, `transfer`); a training without `epoch` counts its lines from 1. A training in
    two stages counts the epochs of each from 1, so that figures of its first one carry its name: `first.loss`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for folder in folders:
        history = root / folder / "history.csv"
        if history.exists():
            writer.writerows(_lines(history, Path(folder)))
    return text.getvalue()


def _lines(history: Path, folder: Path) -> Iterator[tuple[str, str, str, str, str]]:
    with history.open(newline="", encoding="utf-8") as file:
        for index, line in enumerate(csv.DictReader(file), start=1):
            epoch = line.pop("epoch", None) or str(index)
            before = "first." if line.pop("stage", None) == "first" else ""
            for name, value in line.items():
                if _is_number(value):
                    yield folder.name, folder.parent.name, epoch, f"{before}{name}", value


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True
