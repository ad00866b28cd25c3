"""Means, spreads and paired differences over trials. Pure functions of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from scipy import stats

Value = float | None
CONFIDENCE = 0.95


def known(values: Sequence[Value]) -> list[float]:
    """The values that are there and finite: a diverged trial has no figure."""
    return [value for value in values if value is not None and math.isfinite(value)]


def mean(values: Sequence[Value]) -> Value:
    """Mean of the known values; None where there is none.

    >>> mean([1.0, 3.0]), mean([None])
    (2.0, None)
    """
    there = known(values)
    return fmean(there) if there else None


def std(values: Sequence[Value]) -> Value:
    """Sample standard deviation (divided by n - 1) of the known values; None for fewer than two.

    >>> std([1.0, 3.0]) == 2**0.5, std([1.0])
    (True, None)
    """
    there = known(values)
    return stdev(there) if len(there) > 1 else None


@dataclass(frozen=True)
class Difference:
    """One row minus another, trial by trial.

    Attributes:
        values: Differences of the trials that both rows have.
        standard_error: Of their mean; None for one trial.
        interval: Student's t interval of the mean at 95 %; None where it says nothing: one trial, or no spread.
        verdict: `above` and `below` only where the interval leaves zero out; `noise` otherwise; `unknown` without a
            spread.
    """

    values: tuple[float, ...]
    mean: float
    standard_error: float | None
    interval: tuple[float, float] | None
    verdict: Literal["above", "below", "noise", "unknown"]


def paired_difference(first: Sequence[Value], second: Sequence[Value]) -> Difference | None:
    """Compares two rows over the same trials; None where no trial has both.

    The seeds pair the trials, so what they share (order of the images, initial weights) cancels.
    """
    pairs = zip(first, second, strict=False)
    gaps = tuple(round(a - b, 12) for a, b in pairs if len(known([a, b])) == 2 and a is not None and b is not None)
    if not gaps:
        return None
    middle = fmean(gaps)
    if len(gaps) == 1:
        return Difference(gaps, middle, None, None, "unknown")
    error = stdev(gaps) / math.sqrt(len(gaps))
    if error == 0:
        return Difference(gaps, middle, 0.0, None, "unknown" if middle else "noise")
    reach = _quantile(len(gaps)) * error
    # One quantile for both: the words must not contradict the interval that stands beside them.
    verdict: Literal["above", "below", "noise"] = (
        "noise" if abs(middle) <= reach else "above" if middle > 0 else "below"
    )
    return Difference(gaps, middle, error, (middle - reach, middle + reach), verdict)


def least_shown(trials: int) -> float:
    """The mean difference of two rows from which on the interval leaves zero out, in their standard deviations.

    That is where both rows have the same spread, and what chance does to one says nothing of the other.

    Args:
        trials: Two or more.

    >>> round(least_shown(3), 1)
    3.5
    """
    return _quantile(trials) * math.sqrt(2 / trials)


def _quantile(trials: int) -> float:
    """Of Student's t, two-sided."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, trials - 1))
