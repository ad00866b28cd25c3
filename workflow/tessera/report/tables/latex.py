"""The table as LaTeX, with booktabs."""

from tessera.report.tables.filled import FilledCell
from tessera.report.tables.table import Table, digits

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\n": " ",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "→": r"$\rightarrow$",
}


def escape(text: str) -> str:
    r"""Text that LaTeX sets as it is written.

    >>> print(escape("label_fraction 10 %"))
    label\_fraction 10 \%
    """
    return "".join(SPECIAL.get(character, character) for character in text)


def latex(table: Table) -> str:
    """A `table` environment; needs the package booktabs."""
    summary = table.summary
    trials = f"Mean and standard deviation over {summary.trials} trials" if summary.trials > 1 else "One trial"
    title = summary.title if summary.title.endswith((".", "?", "!")) else f"{summary.title}."
    part = f" A part of the study: {summary.part}." if summary.part else ""
    heads = ["", *(escape(column or "value") for column in summary.columns)]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(title)} {escape(trials)}, scale {escape(summary.scale)}.{escape(part)}}}",
        rf"\begin{{tabular}}{{l{'c' * len(summary.columns)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    for row in summary.rows:
        found = [table.at(row, column) for column in summary.columns]
        lines.append(" & ".join([escape(row), *(_cell(table, figure) for figure in found)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _cell(table: Table, figure: FilledCell | None) -> str:
    if figure is None or figure.mean is None:
        return "--"
    decimals = digits(list(table.figures.values()), figure.cell.metric)
    text = _number(figure.mean, decimals)
    if table.is_best(figure):
        text = rf"\textbf{{{text}}}"
    if figure.std is not None:
        text += rf" $\pm$ {_number(figure.std, decimals)}"
    if figure.cell.published is not None:
        text += f" ({figure.cell.published:g})"
    return text


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", "$-$")
