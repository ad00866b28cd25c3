"""Pictures of detection: boxes on images, precision over recall, the worst mistakes, and averages of each class.

Reads what the protocol `detection` keeps beside its figures; draws nothing where no cell has that. Never imports torch.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.data.formats import FORMATS
from tessera.errors import ArtifactError
from tessera.files import replace_text
from tessera.jobs import SummarizeStudy
from tessera.report import trials as over_trials
from tessera.report.pictures import boxes
from tessera.report.pictures.album import Picture
from tessera.report.pictures.boxes import ABREAST, Drawn, Panel, compress, draw_panels
from tessera.report.pictures.drawing import drawing, save
from tessera.report.pictures.precision_recall import MOST, Row, classes_of, draw_curves, draw_table, read_curves
from tessera.report.records import figures, manifest, read_json
from tessera.report.trials import Value

if TYPE_CHECKING:
    import numpy as np

CATEGORY = "Detection"
EXAMPLES, PREDICTIONS = "examples/examples.json", "predictions.npz"
IMAGES, FALSE, MISSED = 6, 6, 3  # in a picture: ordinary images, false positives, missed objects
SUREST = 10  # boxes drawn in an image
WRONG = {  # what is wrong, by kind
    "duplicate": "found already, by a surer box",
    "wrong class": "wrong class, it is {label} (IoU {iou})",
    "poorly placed": "poorly placed, IoU {iou} with {label}",
    "wrong class and place": "wrong class and place, IoU {iou} with {label}",
    "background": "no object there",
}


@dataclass(frozen=True)
class Measured:
    """One cell of the study in which boxes were measured.

    Attributes:
        folders: Its artifacts, one a trial.
        average: Name of the average of a class that its metric is the mean of, as in per_class.csv.
    """

    row: str
    column: str
    metric: str
    folders: tuple[Path, ...]

    @property
    def average(self) -> str:
        return "ap_area" if self.metric == "map_area" else "ap_voc07"


def read_cells(summary: SummarizeStudy, root: Path) -> dict[str, list[Measured]]:
    """The cells in which boxes were measured, by column, each column from the top."""
    found: dict[str, list[Measured]] = {}
    for column in summary.columns:
        for row in summary.rows:
            for cell in summary.cells:
                folders = tuple(root / folder for folder in cell.artifacts)
                here = (cell.row, cell.column) == (row, column)
                if here and folders and (folders[0] / EXAMPLES).exists():
                    found.setdefault(column, []).append(Measured(row, column, cell.metric, folders))
    return found


def different_cells(summary: SummarizeStudy, root: Path) -> list[tuple[str, list[Measured]]]:
    """As `read_cells`, but columns of the same artifacts, which differ in the average alone, are one.

    Returns:
        What a title says of the columns, and their cells.
    """
    found: dict[tuple[tuple[Path, ...], ...], tuple[list[str], list[Measured]]] = {}
    for column, cells in read_cells(summary, root).items():
        columns, _ = found.setdefault(tuple(cell.folders for cell in cells), ([], cells))
        columns.append(column)
    return [
        ("" if len(columns) == len(summary.columns) else f", {' and '.join(columns)}", cells)
        for columns, cells in found.values()
    ]


def draw_predictions(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """What each row of the study finds in the same images, side by side; rows of each dataset by themselves."""
    pictures = []
    for number, (where, every) in enumerate(different_cells(summary, root), 1):
        pages: list[tuple[str, dict[str, Any], Sequence[Sequence[Panel]]]] = []
        drawn = [cell for cell in every if _examples(cell.folders[0])["ordinary"]]  # of people no image is kept
        for cells in (groups := _by_images(drawn)):
            first, said = _examples(cells[0].folders[0]), where
            if len(groups) > 1:
                said += f": {cells[0].row}" + (f" and {len(cells) - 1} more" if len(cells) > 1 else "")
            by_image = [list(panels) for panels in zip(*(_ordinary(cell) for cell in cells), strict=True)]
            if len(cells) == 1:  # images side by side
                pages.append((said, first, _in_lines([panels[0] for panels in by_image])))
            elif len(cells) <= ABREAST:  # a line an image
                pages.append((said, first, by_image))
            else:
                of = len(by_image)
                pages += [(f"{said}, image {i} of {of}", first, _in_lines(p)) for i, p in enumerate(by_image, 1)]
        for page, (said, first, lines) in enumerate(pages, 1):
            file = _photograph(lines, folder, f"predictions-{number}-{page}")
            caption = (
                f"First trial; boxes with a score of {first['threshold']} or more, the {SUREST} surest of an image. "
                f"✓ right: of the object's class, with an IoU of {first['iou']} or more; ✗ wrong; dashed: the objects, "
                "on black those that were missed. The images are spread evenly over the test split, whatever is found. "
                f"In all {len(by_image)} of them: {'; '.join(_counted(cell) for cell in cells)}."
            )
            pictures.append(Picture(file, f"What is found{said}", caption, CATEGORY))
    return pictures


def draw_mistakes(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """The worst mistakes of each row of the study, with what is wrong in words."""
    pictures = []
    for number, (where, cells) in enumerate(different_cells(summary, root), 1):
        for place, cell in enumerate(cells, 1):
            about = _examples(cell.folders[0])
            false = [mistake for mistake in about["mistakes"] if "detection" in mistake][:FALSE]
            missed = [mistake for mistake in about["mistakes"] if "object" in mistake][:MISSED]
            if not false and not missed:
                continue
            panels = [_mistake(about, mistake) for mistake in (*false, *missed)]
            file = _photograph(_in_lines(panels), folder, f"mistakes-{number}-{place}")
            caption = (
                "First trial. The wrong boxes with the highest scores, then the largest objects, by their share of the "
                f"image, that no box with a score of {about['threshold']} or more found; one of each an image. Dashed: "
                f"the object that a mistake is about, if any. A box is right with an IoU of {about['iou']} or more."
            )
            title = f"Worst mistakes: {cell.row}{where}"
            pictures.append(Picture(file, title, caption, CATEGORY))
    return pictures


def draw_precision_recall(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Precision over recall of each class, the rows of the study compared."""
    pictures = []
    for number, (column, cells) in enumerate(read_cells(summary, root).items(), 1):
        rows = [_row(cell) for cell in cells]
        groups = [rows[start : start + MOST] for start in range(0, len(rows), MOST)]
        for page, group in enumerate(groups, 1):
            with drawing():
                figure = draw_curves(group)
                file = None if figure is None else save(figure, folder, f"precision_recall-{number}-{page}")
            if file is None:
                continue
            caption = (
                "Precision at a recall, or at a higher one where it is larger (the envelope), mean over the trials. "
                f"The numbers are {_rule(rows)}, in the order of the rows below, which have their mean over the "
                "classes in brackets; beside a class, how many objects count. A class without one is left out."
            )
            of = "" if len(groups) == 1 else f", part {page} of {len(groups)}"
            title = f"Precision over recall{_where(summary, column)}{of}"
            pictures.append(Picture(file, title, caption, CATEGORY))
    return pictures


def per_class_table(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Average precision of each class, mean ± standard deviation over the trials: CSV, Markdown, and a picture."""
    text, pictures, pages = io.StringIO(), [], []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "column", "class", "objects", "average", "trials", "mean", "std", "values"])
    for number, (column, cells) in enumerate(read_cells(summary, root).items(), 1):
        rows = [_row(cell) for cell in cells]
        for row in rows:
            writer.writerows([row.name, column, *line] for line in _lines(row))
        pages.append(_markdown(rows, _where(summary, column)))
        with drawing():
            file = save(draw_table(rows), folder, f"per_class-{number}")
        caption = (
            f"{_capital(_rule(rows))}: mean over the trials. Spread and single trials: per_class.md, per_class.csv."
        )
        pictures.append(Picture(file, f"Average precision of each class{_where(summary, column)}", caption, CATEGORY))
    if pictures:
        replace_text(folder / "per_class.csv", text.getvalue())
        replace_text(folder / "per_class.md", "\n".join(pages))
    return pictures


def _row(cell: Measured) -> Row:
    means = [figures(folder).get(cell.metric) for folder in cell.folders]
    trials = [read_curves(folder / PREDICTIONS) for folder in cell.folders]
    return Row(cell.row or cell.column, cell.average, trials, over_trials.mean(means))


def _lines(row: Row) -> list[list[Any]]:
    """Lines of per_class.csv, from `class` on."""
    lines = []
    for name, curve in row.trials[0].items():
        for average in curve.averages:
            values = row.values(name, average)
            known = over_trials.known(values)
            shown = [
                round(value, 4) if value is not None else ""
                for value in (over_trials.mean(values), over_trials.std(values))
            ]
            listed = " ".join(f"{value:.4f}" for value in known)
            lines.append([name, curve.objects, average, len(known), *shown, listed])
    return lines


def _markdown(rows: Sequence[Row], where: str) -> str:
    """A table of mean ± standard deviation, a line a class."""
    names = [row.name.replace("|", "\\|") for row in rows]
    lines = [
        f"{_capital(_rule(rows))}{where}.",
        "",
        f"| class | {' | '.join(names)} |",
        f"| --- |{' ---: |' * len(rows)}",
        *(f"| {name} | {' | '.join(_cell(row.values(name)) for row in rows)} |" for name in classes_of(rows)),
        f"| **mean** | {' | '.join('–' if row.mean is None else f'**{row.mean:.1f}**' for row in rows)} |",
    ]
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[Value]) -> str:
    mean, std = over_trials.mean(values), over_trials.std(values)
    return "–" if mean is None else f"{mean:.1f}" if std is None else f"{mean:.1f} ± {std:.1f}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _rule(rows: Sequence[Row]) -> str:
    """Which average is shown, in words."""
    kinds = {row.average for row in rows}
    names = {"ap_voc07": "VOC 2007, eleven points", "ap_area": "area under the envelope"}
    return f"average precision in percent ({' or '.join(names[kind] for kind in sorted(kinds))})"


def _examples(folder: Path) -> dict[str, Any]:
    """examples.json, with the artifact's folder as `folder`.

    Raises:
        ArtifactError: If it is damaged.
    """
    about = read_json(folder / EXAMPLES)
    if missing := {"iou", "threshold", "images", "ordinary", "mistakes"} - set(about):
        raise ArtifactError(f"{folder / EXAMPLES}: has no `{min(missing)}`. Delete its folder; it is made again.")
    return {**about, "folder": folder}


def _pixels(about: dict[str, Any], image: dict[str, Any]) -> "np.ndarray":
    import numpy as np
    from PIL import Image

    path = about["folder"] / image["file"]
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder; it is made again.") from error


def _by_images(cells: Sequence[Measured]) -> list[list[Measured]]:
    """Cells that were measured on the same images; other images may have the same names."""
    found: dict[tuple[Any, ...], list[Measured]] = {}
    for cell in cells:
        about, inputs = _examples(cell.folders[0]), manifest(cell.folders[0]).get("inputs")
        dataset = str(inputs.get("dataset")) if isinstance(inputs, Mapping) else ""
        names = [about["images"][place]["name"] for place in about["ordinary"]]
        found.setdefault((dataset, *names), []).append(cell)
    return list(found.values())


def _ordinary(cell: Measured) -> list[Panel]:
    """The ordinary images, each with all that was found in it, and all that was to be found."""
    about = _examples(cell.folders[0])
    return [_found_in(cell, about, about["images"][place]) for place in about["ordinary"][:IMAGES]]


def _counted(cell: Measured) -> str:
    """How many objects of the ordinary images were found, and how many boxes are wrong."""
    about = _examples(cell.folders[0])
    shown = [about["images"][place] for place in about["ordinary"][:IMAGES]]
    truth = [thing for image in shown for thing in image["truth"] if not thing["difficult"]]
    wrong = sum(box["kind"] not in ("right", "ignored") for image in shown for box in image["detections"][:SUREST])
    found = sum(thing["found"] for thing in truth)
    return f"{cell.row or cell.column} finds {found} of {len(truth)} objects, and {wrong} of its boxes are wrong"


def _found_in(cell: Measured, about: dict[str, Any], image: dict[str, Any]) -> Panel:
    drawn = []
    for thing in image["truth"]:
        kind = boxes.IGNORED if thing["difficult"] else boxes.OBJECT if thing["found"] else boxes.MISSED
        drawn.append(Drawn(thing["box"], kind, thing["label"] if kind is boxes.MISSED else ""))
    for detection in reversed(image["detections"][:SUREST]):
        kind = {"right": boxes.RIGHT, "ignored": boxes.IGNORED}.get(detection["kind"], boxes.WRONG)
        mark = "✓" if kind is boxes.RIGHT else "✗"
        drawn.append(Drawn(detection["box"], kind, f"{mark} {detection['label']} {detection['score']:.2f}"))
    return Panel(cell.row or cell.column, _pixels(about, image), drawn)


def _mistake(about: dict[str, Any], mistake: dict[str, int]) -> Panel:
    """One mistake, and the object that it is about."""
    image = about["images"][mistake["image"]]
    detection = image["detections"][mistake["detection"]] if "detection" in mistake else None
    concerned = mistake["object"] if detection is None else detection["object"]
    thing = None if concerned is None else image["truth"][concerned]
    kind = boxes.MISSED if detection is None else boxes.OBJECT
    drawn = [] if thing is None else [Drawn(thing["box"], kind, thing["label"])]
    if detection is None:
        x1, y1, x2, y2 = image["truth"][concerned]["box"]
        share = 100 * (x2 - x1) * (y2 - y1) / (image["width"] * image["height"])
        said = f"{image['truth'][concerned]['label']} missed: {share:.0f} % of the image"
    else:
        called = f"{detection['label']} {detection['score']:.2f}"
        drawn.append(Drawn(detection["box"], boxes.WRONG, f"✗ {called}"))
        label = "" if thing is None else thing["label"]
        said = f"{called}: {WRONG[detection['kind']].format(label=label, iou=format(detection['iou'], '.2f'))}"
    return Panel(said, _pixels(about, image), drawn)


def _in_lines(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    return [panels[start : start + ABREAST] for start in range(0, len(panels), ABREAST)]


def _photograph(lines: Sequence[Sequence[Panel]], folder: Path, stem: str) -> str:
    with drawing():
        file = save(draw_panels(lines), folder, stem, svg=False)
    compress(folder / file)
    return file


def _where(summary: SummarizeStudy, column: str) -> str:
    return f", {column}" if column and len(summary.columns) > 1 else ""
