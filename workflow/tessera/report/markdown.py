"""The table as Markdown, for people."""

import re
from collections.abc import Sequence

from tessera import registry
from tessera.report.statistics import CONFIDENCE
from tessera.report.table import Compared, Figure, Table, digits, in_percent, lower_is_better

MISSING = "–"


def markdown(table: Table) -> str:
    """Title, how it was measured, the table, comparisons, and what it took."""
    summary = table.summary
    parts = [f"# {summary.title}", summary.description.strip(), _caption(table), _grid(table), _legend(table)]
    if table.comparisons:
        parts += ["## Comparisons", _comparisons(table)]
    parts += [table.cost.sentence(), explained_by(summary.name, summary.rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def explained_by(study: str, rows: Sequence[str]) -> str:
    """The commands that say more of a study, in a sentence."""
    two = f" `tessera diff '{rows[0]}' '{rows[1]}'`: what two rows differ in." if len(rows) > 1 else ""
    return f"`tessera why {study}`: why a job of it would run again.{two}"


def number(value: float, decimals: int, sign: bool = False) -> str:
    """A number with a true minus sign.

    >>> number(-0.24, 1), number(0.24, 1, sign=True), number(-0.01, 1, sign=True)
    ('−0.2', '+0.2', '±0.0')
    """
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    if float(text) == 0:
        return ("±" if sign else "") + f"{0:.{decimals}f}"
    return text.replace("-", "−")


def _caption(table: Table) -> str:
    summary = table.summary
    trials = f"Mean ± sample standard deviation over {summary.trials} trials" if summary.trials > 1 else "One trial"
    stand_ins = ", ".join(f"{other} for {name}" for name, other in summary.stand_ins.items())
    others = f" Stand-ins at this scale: {stand_ins}." if stand_ins else ""
    left_out = f" Left out for want of images: {'; '.join(summary.left_out)}." if summary.left_out else ""
    return f"{trials}; scale `{summary.scale}`.{others}{left_out}"


def _grid(table: Table) -> str:
    summary = table.summary
    heads = ["", *(_escaped(column or _metrics(table, column)) for column in summary.columns)]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in summary.rows:
        found = [table.at(row, column) for column in summary.columns]
        cells = [MISSING if figure is None else cell_text(table, figure) for figure in found]
        lines.append(_line([_escaped(row), *cells]))
    return "\n".join(lines)


def cell_text(table: Table, figure: Figure) -> str:
    """One cell: mean, spread, and the published value beside them."""
    decimals = digits(list(table.figures.values()), figure.cell.metric)
    paper = "" if figure.cell.published is None else f"paper {figure.cell.published:g}"
    if figure.mean is None:
        return f"{MISSING} ({paper})" if paper else MISSING
    text = number(figure.mean, decimals)
    if figure.std is not None:
        text += f" ± {number(figure.std, decimals)}"
    if table.is_best(figure):
        text = f"**{text}**"
    if figure.difference is not None:
        paper += f", {number(figure.difference, decimals, sign=True)}"
    missing = sum(value is None for value in figure.values)
    few = f"{len(figure.values) - missing} of {len(figure.values)} trials" if missing else ""
    notes = "; ".join(note for note in (paper, few) if note)
    return f"{text} ({notes})" if notes else text


def _legend(table: Table) -> str:
    lines = []
    for column in table.summary.columns:
        kinds = dict.fromkeys((f.cell.protocol, f.cell.metric, f.chance) for f in table.in_column(column))
        texts = [how_measured(*kind) for kind in kinds]
        lines.append(f"- {'**' + column + '**: ' if column else ''}{' '.join(texts)}" if texts else "")
    bold = any(table.is_best(figure) for figure in table.figures.values())
    note = "Bold: the best mean of its column; the spread says how much that means." if bold else ""
    listed = "\n".join(line for line in lines if line)
    return "\n\n".join(text for text in (note, listed) if text)


def how_measured(protocol: str, metric: str, chance: float | None) -> str:
    """A sentence on a protocol and the figure that fills the cell."""
    about = protocol
    if ":" not in protocol:  # a user's own part is named as it is: looking it up would import it
        about = " ".join((registry.find("protocol", protocol).options.__doc__ or protocol).split()).rstrip(".")
    better = "lower is better" if lower_is_better(metric) else "higher is better"
    guess = "" if chance is None else f", chance is {chance:.3g}"
    unit = ", %" if in_percent(metric) else ""
    return f"{about} (`{protocol}`, figure `{metric}`{unit}; {better}{guess})."


def _comparisons(table: Table) -> str:
    lines: list[str] = []
    question = None
    for compared in table.comparisons:
        asked = compared.comparison.question
        if asked and asked != question:
            lines += ["", f"**{asked}**", ""]
        elif not asked and question:
            lines.append("")
        question = asked
        lines.append(f"- {sentence(compared, digits(list(table.figures.values()), compared.metric))}")
    lines += ["", care(table)]
    return "\n".join(lines).strip("\n")


def care(table: Table) -> str:
    """What to keep in mind with a study's comparisons."""
    text = "Differences are paired by trial. "
    if all(compared.difference.interval is None for compared in table.comparisons):
        return text + "Without a spread over trials nothing here tells an effect from chance."
    text += f"Intervals are Student's t at {CONFIDENCE:.0%} and not corrected for the number of comparisons"
    total = len(table.comparisons)
    return text + (
        f": of {total}, about {total * (1 - CONFIDENCE):.1f} would stand out by chance." if total > 1 else "."
    )


def sentence(compared: Compared, decimals: int) -> str:
    """What a comparison shows, never more."""
    gap, row, against = compared.difference, compared.comparison.row, compared.comparison.against
    where = f" in {compared.column}" if compared.column else ""
    size = number(gap.mean, decimals, sign=True)
    n = len(gap.values)
    if n == 1:
        return f"{row} against {against}{where}: {size}; one trial: no spread, read with care."
    if gap.standard_error == 0 and gap.mean == 0:
        return f"{row} equals {against}{where} in each of {n} trials."
    if gap.interval is None or gap.standard_error is None:
        return f"{row} against {against}{where}: {size} in each of {n} trials: no spread, read with care."
    low, high = (number(end, decimals, sign=True) for end in gap.interval)
    error = number(gap.standard_error, decimals)
    shown = f"{size}, standard error {error}, {CONFIDENCE:.0%} interval {low} to {high}, n = {n}"
    if gap.verdict == "noise":
        return f"{row} against {against}{where}: no difference beyond noise ({shown})."
    better = " (lower is better)" if lower_is_better(compared.metric) else ""
    return f"{row} is {gap.verdict} {against}{where}{better}: {shown}."


def _metrics(table: Table, column: str) -> str:
    return ", ".join(dict.fromkeys(figure.cell.metric for figure in table.in_column(column)))


def _escaped(text: str) -> str:
    return re.sub(r"([|*`\\])", r"\\\1", text).replace("\n", " ")


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
