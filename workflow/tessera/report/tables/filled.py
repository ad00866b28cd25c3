"""A cell of a study's table with what was measured there."""

from dataclasses import dataclass

from tessera.jobs import Cell
from tessera.report import trials as over_trials
from tessera.report.trials import Value


@dataclass(frozen=True)
class FilledCell:
    """A cell of the table and what was measured there.

    Attributes:
        values: The cell's metric, one a trial; None where a trial has no finite figure.
        metrics: Mean of every figure that the protocol reports.
        chance: What guessing would give, %, where that is known.
    """

    cell: Cell
    values: tuple[Value, ...]
    metrics: dict[str, Value]
    chance: float | None

    @property
    def mean(self) -> Value:
        return over_trials.mean(self.values)

    @property
    def std(self) -> Value:
        return over_trials.std(self.values)

    @property
    def difference(self) -> Value:
        """Ours minus the published value."""
        mean, published = self.mean, self.cell.published
        return None if mean is None or published is None else mean - published

    def measured_like(self, other: "FilledCell") -> bool:
        """Whether the two may be compared at all."""
        return (self.cell.protocol, self.cell.metric) == (other.cell.protocol, other.cell.metric)
