"""What is shown of a study, once it is known which of its cells can be filled."""

from collections.abc import Collection, Mapping, Sequence

from tessera.jobs import Cell, DeltaColumn, Run, SummarizeStudy
from tessera.study.delta import delta_column
from tessera.study.left_out import Place
from tessera.study.outline import Outline
from tessera.study.part import Part


def summarize(
    outline: Outline,
    part: Part,
    asked: Collection[Place],
    cells: Sequence[Cell],
    left_out: Sequence[Place],
    *,
    told: Sequence[str],
    scale: str,
    trials: int,
    stand_ins: Mapping[str, str],
    artifacts: Sequence[str],
    run: Run,
) -> SummarizeStudy:
    """The summary of a study: of all its cells, or of a part of them.

    Args:
        part: The rows and columns that are wanted.
        asked: Row and column of each wanted cell.
        cells: Those that can be filled.
        left_out: Row and column of those that cannot, in the study's order.
        told: Those in words.
        artifacts: Folders of all that fills the cells.

    Raises:
        StudyError: If rows that `delta` compares are measured in two ways.
    """
    study, wanted = outline.study, set(asked)
    unasked = [place for cell in outline.cells if (place := (cell.row, cell.column)) not in wanted]
    away = {column for _, column in unasked} - {column for _, column in wanted}
    asked_for = part.words() if unasked else ""
    delta: DeltaColumn | None = None
    no_delta = ""
    if study.delta is not None:
        delta, no_delta = delta_column(study.delta, cells, [*left_out, *unasked], outline.published, outline.shown)
        if unasked and no_delta:
            asked_for, no_delta, away = f"{asked_for}; without {no_delta}", "", {*away, study.delta.label}
    filled = {cell.row for cell in cells}
    return SummarizeStudy(
        name=outline.name,
        title=study.title,
        description=study.description,
        scale=scale,
        trials=trials,
        rows=tuple(row for row in outline.rows if row in filled),
        columns=(*dict.fromkeys(cell.column for cell in cells), *((delta.label,) if delta is not None else ())),
        cells=tuple(cells),
        compare=tuple(
            pair
            for pair in study.compare
            if {pair.row, pair.against} <= filled and (pair.columns is None or set(pair.columns) - away)
        ),
        delta=delta,
        stand_ins=dict(stand_ins),
        part=asked_for,
        left_out=(*told, *((no_delta,) if no_delta else ())),
        artifacts=tuple(artifacts),
        run=run,
    )
