"""What a study answers, in words: its comparisons, how it stands to the paper, and what to be careful about."""

from collections.abc import Sequence
from dataclasses import dataclass

from tessera.report.runs import Runs
from tessera.report.tables.table import Compared, Table, digits
from tessera.report.trials import least_shown
from tessera.report.words.sentences import care, cell_text, listed, no_answer, number, sentence, verdict

SIGNS = {"above": "▲", "below": "▼", "noise": "≈", "unknown": "?", "missing": "–"}
WORDS = {
    "yes": "yes", "no": "no", "above": "above", "below": "below", "noise": "no difference beyond noise",
    "unknown": "nothing can be said", "missing": "no answer",
}  # fmt: skip
NAMED = 3  # columns that a summary lists
GAPS_SHOWN = 6  # beside the answer; a page has all of them further down


@dataclass(frozen=True)
class Line:
    """One comparison in one column.

    Attributes:
        text: What it shows, a sentence that needs no other.
        verdict: Of the difference: `above`, `below`, `noise`, `unknown`; `missing` where there is none.
        word: The verdict or, where the study says which is which, `yes` or `no`.
    """

    text: str
    verdict: str
    word: str
    column: str
    lower_is_better: bool = False

    @property
    def tone(self) -> str:
        """`better` or `worse`, as the figure's direction says; empty where there is no difference."""
        if self.verdict not in ("above", "below"):
            return ""
        return "worse" if (self.verdict == "above") is self.lower_is_better else "better"

    @property
    def sign(self) -> str:
        return SIGNS[self.verdict]


@dataclass(frozen=True)
class Answer:
    """A question of the study and what the comparisons say."""

    question: str
    lines: tuple[Line, ...]

    @property
    def short(self) -> str:
        """All verdicts in a few words; empty for one line, which says it itself."""
        if len(self.lines) < 2:
            return ""
        found: dict[str, list[str]] = {}
        for line in self.lines:
            found.setdefault(line.word, []).append(line.column)
        columns = [line.column for line in self.lines]
        distinct = all(columns) and len(set(columns)) == len(columns)
        told = []
        for word, where in found.items():
            if len(where) == len(columns):
                place = f" in {'both' if len(where) == 2 else f'all {len(where)}'} comparisons"
            elif distinct and len(where) <= NAMED:
                place = f" in {listed(where)}"
            else:
                place = f" in {len(where)} of {len(columns)} comparisons"
            told.append(f"{WORDS[word]}{place}")
        text = "; ".join(told)
        return f"{text[:1].upper()}{text[1:]}."


def answers(table: Table) -> list[Answer]:
    """The study's questions in order; comparisons without a question stand under an empty one."""
    found: dict[str, list[Line]] = {}
    for outcome in table.outcomes:
        if isinstance(outcome, Compared):
            found_verdict, lower = outcome.difference.verdict, outcome.figure.lower_is_better
            line = Line(sentence(outcome, table), found_verdict, verdict(outcome), outcome.column, lower)
        else:
            line = Line(no_answer(outcome), "missing", "missing", outcome.column)
        found.setdefault(outcome.comparison.question or "", []).append(line)
    return [Answer(question, tuple(lines)) for question, lines in found.items()]


def caution(table: Table) -> str:
    """What to keep in mind with the comparisons; empty where there is none."""
    return care(table) if table.comparisons else ""


def headline(table: Table) -> str:
    """The main answer in a line: the first question, else the best of the first column, else the one figure."""
    for answer in answers(table):
        told = answer.short if len(answer.lines) > 2 else " ".join(line.text for line in answer.lines)
        return f"{answer.question} {told}".strip()
    for column in table.summary.columns:
        for figure in table.in_column(column):
            if table.is_best(figure) or len(table.in_column(column)) == 1:
                where = f" in {column}" if column else ""
                best = "Best" if table.is_best(figure) else "Measured"
                return f"{best}{where}: {figure.cell.row}, {cell_text(table, figure).replace('**', '')}."
    return "No cell has a figure." if not any(f.mean is not None for f in table.figures.values()) else ""


def against_paper(table: Table) -> str:
    """How ours stand to the published figures, over all measured cells that have one; empty where none has."""
    measured = (figure for figure in table.figures.values() if figure.cell.artifacts)
    found = [figure for figure in measured if figure.difference is not None]
    if not found:
        return ""
    decimals = digits(list(table.figures.values()), found[0].cell.metric)
    gaps = [figure.difference for figure in found if figure.difference is not None]
    low, high = (number(gap, decimals, sign=True) for gap in (min(gaps), max(gaps)))
    if len(gaps) == 1:
        return f"The one cell with a published figure differs from it by {low}."
    return f"The {len(gaps)} cells with a published figure differ from it by {low} to {high}, ours minus the paper's."


def warnings(table: Table, runs: Runs) -> list[str]:
    """What limits what the study shows: scale, trials, what failed, was skipped or left out, mixed code."""
    summary = table.summary
    found = []
    if summary.scale != "paper":
        found.append(
            f"Scale `{summary.scale}`: fewer or shorter epochs than the paper's, so its figures are no target to meet."
        )
    found += [f"{other} stands in for {name}." for name, other in summary.stand_ins.items()]
    if summary.part:
        found.append(f"A part of the study: {summary.part}.")
    if summary.trials == 1:
        found.append("One trial: no spread, so nothing here tells an effect from chance.")
    elif summary.trials < 5:
        found.append(
            f"{summary.trials} trials: spreads and intervals are rough. Between two rows of one standard deviation a "
            f"difference shows from {least_shown(summary.trials):.1f} of these on."
        )
    missing = gaps(table, runs)
    rest = len(missing) - GAPS_SHOWN
    return found + missing[:GAPS_SHOWN] + ([f"{rest} more of this kind: see what failed, below."] if rest > 0 else [])


def gaps(table: Table, runs: Runs) -> list[str]:
    """What failed, was skipped or left out."""
    summary = table.summary
    found = [f"Left out for want of images: {where}." for where in summary.left_out]
    for figure in table.figures.values():
        if not figure.cell.artifacts:  # made of other cells' figures, of which the same is told
            continue
        where = f"{figure.cell.row}, {figure.cell.column}" if figure.cell.column else figure.cell.row
        without = [trial for trial, value in enumerate(figure.values) if value is None]
        unmade = [trial for trial in without if not runs.at(figure.cell.artifacts[trial]).about]
        failed = [trial for trial in without if trial not in unmade]
        rest = "; mean and spread are over the others." if len(without) < len(figure.values) else "."
        total = len(figure.values)
        if failed:
            found.append(f"{where}: {_trials(failed)} of {total} gave no finite `{figure.cell.metric}`{rest}")
        if unmade:
            found.append(f"{where}: {_trials(unmade)} of {total} {'is' if len(unmade) == 1 else 'are'} not made{rest}")
    for name, count in runs.skipped().items():
        if count:
            found.append(f"{name}: {count} passed over (images, annotations or objects); its log says why.")
    found += [f"{name}: shows people, so no image of it is drawn." for name in runs.with_people()]
    if len(runs.commits()) > 1:
        found.append(f"The artifacts were made by {len(runs.commits())} states of the code; see below.")
    return found


def _trials(numbers: Sequence[int]) -> str:
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
