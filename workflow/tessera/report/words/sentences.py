"""Figures and comparisons in plain words, each readable by itself: what was found, how large, how sure."""

from collections.abc import Sequence

from tessera.report.tables.filled import FilledCell
from tessera.report.tables.table import Compared, Table, Unanswered, digits
from tessera.report.trials import CONFIDENCE

MISSING = "–"
NOTHING = "nothing can be said about spread"


def number(value: float, decimals: int, sign: bool = False) -> str:
    """A number with a true minus sign.

    >>> number(-0.24, 1), number(0.24, 1, sign=True), number(-0.01, 1, sign=True)
    ('−0.2', '+0.2', '±0.0')
    """
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    if float(text) == 0:
        return ("±" if sign else "") + f"{0:.{decimals}f}"
    return text.replace("-", "−")


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def cell_text(table: Table, figure: FilledCell) -> str:
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


def verdict(compared: Compared) -> str:
    """The comparison's verdict; `yes` or `no` where the study says which of the two answers its question."""
    found, wanted = compared.difference.verdict, compared.comparison.yes_if
    if wanted is None or found not in ("above", "below"):
        return found
    better = "below" if compared.figure.lower_is_better else "above"
    return "yes" if (found == better) == (wanted == "better") else "no"


def sentence(compared: Compared, table: Table) -> str:
    """What a comparison shows, never more.

    Points are percentage points; another figure is named, with the way in which it is better.
    """
    gap, row, against = compared.difference, compared.comparison.row, compared.comparison.against
    decimals = digits(list(table.figures.values()), compared.figure.name)
    unit = {"%": " points", "": ""}.get(compared.figure.unit, f" {compared.figure.unit}")
    where = _where(compared)
    of = table.summary.trials
    trials = f"{len(gap.values)} trials" if len(gap.values) == of else f"{len(gap.values)} of {of} trials"
    size = f"{number(gap.mean, decimals, sign=True)}{unit}"
    if len(gap.values) == 1:
        only = "One trial, no spread" if of == 1 else f"Only 1 of {of} trials has both figures, so {NOTHING}"
        return f"{only}: {row} against {against}, {size}{f' ({where})' if where else ''}."
    if gap.standard_error == 0 and gap.mean == 0:
        return f"No difference: {row} equals {against} in each of {trials}{f' ({where})' if where else ''}."
    if gap.interval is None:
        shown = f"{row} against {against}, {size}{f' ({where})' if where else ''}"
        return f"The same difference in each of {trials}, so {NOTHING}: {shown}."
    ends = gap.interval
    if gap.verdict == "noise":
        low, high = (number(end, decimals, sign=True) for end in ends)
        start, shown = "No difference beyond noise: ", f"{row} against {against}, {size}"
    else:
        # By how much it lies below is a positive number, and so are the ends of what that may be.
        low, high = (number(end, decimals) for end in sorted(ends if gap.mean > 0 else (-ends[0], -ends[1])))
        start = {"yes": "Yes: ", "no": "No: "}.get(verdict(compared), "")
        shown = f"{row} is {gap.verdict} {against} by {number(abs(gap.mean), decimals)}{unit}"
    sure = f"{100 * CONFIDENCE:.0f} % interval {low} to {high}, {trials}"
    return f"{start}{shown} ({f'{where}; ' if where else ''}{sure})."


def no_answer(unanswered: Unanswered) -> str:
    """Why a comparison that was asked for is not there."""
    where = f" ({unanswered.column})" if unanswered.column else ""
    names = f"{unanswered.comparison.row} and {unanswered.comparison.against}"
    return f"No answer{where}: {unanswered.why.format(names=names)}."


def care(table: Table) -> str:
    """What to keep in mind with a study's comparisons."""
    if all(compared.difference.interval is None for compared in table.comparisons):
        return "Without a spread over trials nothing here tells an effect from chance."
    text = (
        "Differences are taken trial by trial: both rows share a trial's seed. An interval says where the mean "
        f"difference may lie (Student's t, {100 * CONFIDENCE:.0f} %); one that holds zero is called noise. It is not "
        "corrected for the number of comparisons"
    )
    total = len(table.comparisons)
    return text + (
        f": of {total}, about {total * (1 - CONFIDENCE):.1f} would stand out by chance." if total > 1 else "."
    )


def _where(compared: Compared) -> str:
    """The column and, where the figure is no share, its name and which way it is better."""
    if compared.figure.unit == "%":
        return compared.column
    better = "lower is better" if compared.figure.lower_is_better else "higher is better"
    name = "" if compared.figure.name == compared.column else f"{compared.figure.name}, "
    return "; ".join(word for word in (compared.column, f"{name}{better}") if word)
