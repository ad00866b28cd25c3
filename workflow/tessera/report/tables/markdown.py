"""The table as Markdown, for people."""

import re
import shlex
from collections.abc import Sequence

from tessera import registry
from tessera.figures import Figure
from tessera.report.tables.delta import how_changed
from tessera.report.tables.table import Table
from tessera.report.words.answers import answers
from tessera.report.words.sentences import MISSING, care, cell_text


def markdown(table: Table) -> str:
    """Title, how it was measured, the table, comparisons, and what it took."""
    summary = table.summary
    parts = [
        f"# {no_html(summary.title)}",
        no_html(summary.description.strip()),
        _caption(table),
        _grid(table),
        _legend(table),
    ]
    if found := _answers(table):
        parts += ["## Answers", found]
    parts += [table.cost.sentence(), explained_by(summary.name, summary.rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def explained_by(study: str, rows: Sequence[str]) -> str:
    """The commands that say more of a study, in a sentence."""
    why = f"`tessera why {study}`: why a job of it would run again."
    if len(rows) < 2:
        return why
    words = " ".join(f"'{row}'" if "'" not in row else shlex.quote(row) for row in rows[:2])
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))  # longer than any within
    return f"{why} {fence}tessera diff {words} --study {study}{fence}: what two rows differ in."


def _caption(table: Table) -> str:
    summary = table.summary
    trials = f"Mean ± sample standard deviation over {summary.trials} trials" if summary.trials > 1 else "One trial"
    stand_ins = ", ".join(f"{other} for {name}" for name, other in summary.stand_ins.items())
    others = f" Stand-ins at this scale: {stand_ins}." if stand_ins else ""
    part = f" A part of the study: {summary.part}." if summary.part else ""
    left_out = f" Left out for want of images: {'; '.join(summary.left_out)}." if summary.left_out else ""
    return no_html(f"{trials}; scale `{summary.scale}`.{others}{part}{left_out}")


def _grid(table: Table) -> str:
    summary = table.summary
    heads = ["", *(_escaped(column or _metrics(table, column)) for column in summary.columns)]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in summary.rows:
        found = [table.at(row, column) for column in summary.columns]
        cells = [MISSING if figure is None else cell_text(table, figure) for figure in found]
        lines.append(_line([_escaped(row), *cells]))
    return "\n".join(lines)


def _legend(table: Table) -> str:
    lines = [f"- {f'**{no_html(column)}**: ' if column else ''}{no_html(text)}" for column, text in measures(table)]
    bold = any(table.is_best(figure) for figure in table.figures.values())
    note = "Bold: the best mean of its column; the spread says how much that means." if bold else ""
    return "\n\n".join(text for text in (note, "\n".join(lines)) if text)


def measures(table: Table) -> list[tuple[str, str]]:
    """How each column is measured, in words; columns without a figure are left out."""
    found: list[tuple[str, str]] = []
    told: set[str] = set()
    delta = table.summary.delta
    for column in table.summary.columns:
        if delta is not None and column == delta.label:
            found.append((column, how_changed(delta, table.figures)))
            continue
        kinds: dict[tuple[str, Figure], float | None] = {}
        for figure in table.in_column(column):
            kind = figure.cell.protocol, figure.cell.figure
            kinds[kind] = kinds.get(kind) if figure.chance is None else figure.chance
        texts = []
        for (protocol, measured), guess in kinds.items():
            texts.append(how_measured(protocol, measured, guess, again=protocol in told))
            told.add(protocol)
        found.append((column, " ".join(texts)))
    return [(column, text) for column, text in found if text]


def how_measured(protocol: str, figure: Figure, chance: float | None, again: bool = False) -> str:
    """A sentence on a protocol and the figure that fills the cell; `again`: what the protocol does was told before."""
    about = protocol
    if ":" not in protocol:  # a user's own part is named as it is: looking it up would import it
        about = " ".join((registry.find("protocol", protocol).options.__doc__ or protocol).split()).rstrip(".")
    better = "lower is better" if figure.lower_is_better else "higher is better"
    guess = "" if chance is None else f", chance is {chance:.3g}"
    unit = f", {figure.unit}" if figure.unit else ""
    if again:
        return f"Figure `{figure.name}` of `{protocol}`{unit}; {better}{guess}."
    return f"{about} (`{protocol}`, figure `{figure.name}`{unit}; {better}{guess})."


def _answers(table: Table) -> str:
    lines: list[str] = []
    for answer in answers(table):
        lines += ["", f"**{no_html(answer.question)}**", ""] if answer.question else [""]
        lines += [f"- {no_html(line.text)}" for line in answer.lines]
    lines += ["", care(table)] if table.comparisons else []
    return "\n".join(lines).strip("\n")


def _metrics(table: Table, column: str) -> str:
    return ", ".join(dict.fromkeys(figure.cell.metric for figure in table.in_column(column)))


def _escaped(text: str) -> str:
    return no_html(re.sub(r"([|*`\\])", r"\\\1", text).replace("\n", " "))


def no_html(text: str) -> str:
    """Words of a study for Markdown, which would take what looks like a tag for HTML.

    >>> no_html("a < b, not <b>")
    'a < b, not &lt;b>'
    """
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
