"""Weights of the temporal and the task gradients, from the tasks' progress.

Source: Kim, Lee & Song 2019, Eq. 9, say that they come from the losses of this epoch and the one before; the formulas,
in a supplement that is lost, are ours (docs/methods.md 1.6), in the spirit of dynamic weight averaging.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from tessera.multitask.fusion.options import TteOptions

RATIO_BOUNDS = (0.5, 2.0)  # so that no single epoch dominates, nor a loss near zero
TINY = 1e-12


def progress_ratios(losses: Mapping[str, float], previous: Mapping[str, float] | None) -> dict[str, float]:
    """Loss of this epoch over that of the epoch before, clipped; 1 in the first epoch.

    A loss that is not positive has no meaningful ratio and counts as 1.
    """
    low, high = RATIO_BOUNDS
    return {
        task: min(high, max(low, loss / previous[task])) if previous and loss > 0 and previous[task] > 0 else 1.0
        for task, loss in losses.items()
    }


def temporal_weights(ratios: Sequence[float], impacts: Sequence[float], options: TteOptions) -> list[float]:
    """Alpha of each task: not negative, of sum `alpha_total`, which is the number of tasks unless it is set.

    With `dwa` a task whose loss falls more slowly gets more; `alpha_gamma` lowers, under any rule, the weight of tasks
    that move the encoder more than the mean.

    >>> [round(a, 3) for a in temporal_weights([0.9, 1, 1.1, 1], [1.0] * 4, TteOptions(alpha_tau=0.5))]
    [0.811, 0.99, 1.209, 0.99]

    Args:
        ratios: Of `progress_ratios`, in the study's order of tasks.
        impacts: Mean change of the fused layers by each task, in the same order.
    """
    mean = sum(impacts) / len(impacts)
    evened = [((mean + TINY) / (impact + TINY)) ** options.alpha_gamma for impact in impacts]
    weights = [rule * even for rule, even in zip(RULES[options.alpha](ratios, options), evened, strict=True)]
    total = options.total(len(weights))
    return [total * weight / sum(weights) for weight in weights]


def task_weight(first: float, last: float, beta0: float) -> float:
    """Beta, from the progress ratios of the epoch's first and last task: towards the one that lags.

    >>> round(task_weight(0.9, 1.1, 0.1), 6)
    0.01
    """
    return beta0 * (last - first) / (last + first)


def _dwa(ratios: Sequence[float], options: TteOptions) -> list[float]:
    return [math.exp((ratio - max(ratios)) / options.alpha_tau) for ratio in ratios]


def _uniform(ratios: Sequence[float], options: TteOptions) -> list[float]:
    return [1.0 for _ in ratios]


def _inverse_ratio(ratios: Sequence[float], options: TteOptions) -> list[float]:
    return [1 / ratio for ratio in ratios]


def _fixed(ratios: Sequence[float], options: TteOptions) -> list[float]:
    return list(options.alpha_values or ())


RULES: dict[str, Callable[[Sequence[float], TteOptions], list[float]]] = {
    "dwa": _dwa,
    "uniform": _uniform,
    "inv_ratio": _inverse_ratio,
    "fixed": _fixed,
}
