import math
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from tessera.report.trials import least_shown, mean, paired_difference, std

SECOND = [70.1, 69.4, 71.9, 70.6, 70.0]


def test_mean_and_sample_deviation_by_hand() -> None:
    # Mean 4; squared deviations 4 + 0 + 4, over n - 1 = 2.
    assert mean([2.0, 4.0, 6.0]) == 4.0
    assert std([2.0, 4.0, 6.0]) == 2.0


def test_missing_and_diverged_trials_do_not_count() -> None:
    assert mean([1.0, None, 3.0, math.nan, math.inf]) == 2.0
    assert std([1.0, None]) is None
    assert mean([]) is None


@pytest.mark.parametrize("gain", [-3.0, -0.3, 0.0, 0.4, 5.0])
def test_verdict_and_interval_agree_with_the_paired_t_test(gain: float) -> None:
    noise = [0.5, -0.8, 0.3, 1.1, -0.4]
    first = [value + gain + error for value, error in zip(SECOND, noise, strict=True)]
    ours, theirs = paired_difference(first, SECOND), stats.ttest_rel(first, SECOND)
    assert ours is not None
    assert ours.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-9)
    significant = theirs.pvalue < 0.05
    assert ours.verdict == (("above" if ours.mean > 0 else "below") if significant else "noise")


def test_a_gain_that_two_standard_errors_would_pass_is_noise_with_two_trials() -> None:
    # Gaps 1 and 2: mean 1.5 is three standard errors (0.5), but t for one degree of freedom is 12.7.
    gap = paired_difference([71.0, 72.0], [70.0, 70.0])
    assert gap is not None
    assert (gap.mean, gap.standard_error) == pytest.approx((1.5, 0.5))
    assert gap.interval == pytest.approx((1.5 - 6.3531, 1.5 + 6.3531), abs=1e-3)
    assert gap.verdict == "noise"


@pytest.mark.parametrize("trials", [2, 3, 10, 61, 62, 70, 1000])
@pytest.mark.parametrize("times", [0.9999, 1.0001])
def test_the_verdict_is_the_intervals_whatever_the_number_of_trials(trials: int, times: float) -> None:
    # From 62 trials on Student's quantile is below 2: a gap of 1.996 standard errors over 70 lies outside the interval.
    spread = [float(trial) for trial in range(trials)]
    spread = [value - fmean(spread) for value in spread]
    reach = float(stats.t.ppf(0.975, trials - 1)) * stdev(spread) / math.sqrt(trials)
    for sign, word in ((1, "above"), (-1, "below")):
        gap = paired_difference([value + sign * times * reach for value in spread], [0.0] * trials)
        assert gap is not None
        assert gap.interval is not None
        assert (gap.interval[0] > 0 or gap.interval[1] < 0) == (times > 1)
        assert gap.verdict == (word if times > 1 else "noise")


def test_no_spread_proves_nothing() -> None:
    one, same, equal = (
        paired_difference([2.0], [1.0]),
        paired_difference([2.1, 3.1], [1.0, 2.0]),
        paired_difference([2.0, 3.0], [2.0, 3.0]),
    )
    assert one is not None
    assert same is not None
    assert equal is not None
    assert (one.verdict, one.standard_error, one.interval) == ("unknown", None, None)
    assert (same.verdict, same.standard_error, same.interval) == ("unknown", 0.0, None)
    assert (equal.verdict, equal.mean) == ("noise", 0.0)


def test_only_trials_that_both_rows_have_are_paired() -> None:
    gap = paired_difference([5.0, None, 9.0], [4.0, 100.0, 6.0])
    assert gap is not None
    assert gap.values == (1.0, 3.0)
    assert paired_difference([None], [1.0]) is None


@pytest.mark.parametrize("trials", [2, 3, 4, 10])
def test_what_shows_is_where_the_t_test_is_at_five_in_a_hundred(trials: int) -> None:
    gaps = np.random.default_rng(trials).normal(size=trials)
    gaps = (gaps - gaps.mean()) / gaps.std(ddof=1) * 2**0.5  # of two rows with a deviation of 1 each
    found = stats.ttest_1samp(gaps + least_shown(trials), 0)
    assert found.pvalue == pytest.approx(0.05)
