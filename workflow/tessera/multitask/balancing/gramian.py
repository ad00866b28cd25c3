"""Problems over the Gram matrix of the tasks' gradients, in float64 on the CPU.

All are solved over the gradients' lengths and the correlations between them: of tasks whose gradients are 1e-6 and 1e6
long the Gram matrix itself leaves float64 no digits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from tessera.multitask.balancing.base import NoWeightError

Floats = NDArray[np.float64]

_LEAST = 1e-12


def lengths_of(gramian: Tensor) -> Floats:
    """The gradients' lengths, (K,).

    Raises:
        NoWeightError: If one is 0.
    """
    lengths = _floats(np.sqrt(gramian.diagonal().numpy()))
    if not lengths.all():
        raise NoWeightError(int(lengths.argmin()), "is 0, so it has no direction.")
    return lengths


def correlations(gramian: Tensor) -> Floats:
    """(K, K): cosines between the gradients, none of them 0.

    They have an inverse whatever the gradients are: an eigenvalue near 0, which rounding can make negative, is taken as
    positive and as 1e-12 at least. The inverse is then as large as rounding leaves open, and not larger.
    """
    cosines, _ = _cosines(gramian)
    values, vectors = np.linalg.eigh(cosines)
    return cosines if values[0] >= _LEAST else _floats((vectors * abs(values).clip(_LEAST)) @ vectors.T)


def points_of(gramian: Tensor) -> Floats:
    """(K, K): columns whose inner products are the Gram matrix, as if they were the gradients."""
    cosines, lengths = _cosines(gramian)
    values, vectors = np.linalg.eigh(cosines)
    return _floats(np.sqrt(values.clip(0))[:, None] * vectors.T * lengths)


def shortest(points: Floats) -> Floats:
    """Weights (K,) of the shortest convex combination of the columns: none negative, their sum 1.

    By least squares: over `y = t w` with w such weights, the least `|P y|^2 + (sum y - 1)^2` for w is
    `q / (1 + q)`, q the squared length of `P w`, and so is least where q is.
    """
    lengths = np.linalg.norm(points, axis=0)
    if not lengths.all():
        return _floats(np.arange(len(lengths)) == lengths.argmin())
    rows = np.vstack([points / lengths.min(), np.ones(len(lengths))])
    y = _nonnegative(rows, np.eye(len(rows))[-1])
    return _floats(y / y.sum())


def into_dual_cone(points: Floats, weights: Floats) -> Floats:
    """Weights (K,) of the vector nearest to `points @ weights` that goes against no column.

    Source: Quinton & Rey 2024, arXiv:2406.16232, Proposition 1: no weight gets smaller, and the result is the
    shortest of all such.
    """
    return weights + _nonnegative(points, -points @ weights)


def fairest(gramian: Tensor, alpha: float) -> Floats:
    """Positive weights (K,) with `(G w)_k = w_k^(-1 / alpha)`: the gains of the tasks are alpha-fair.

    By Newton's method on the convex function of w whose slope is the difference of the two sides, each weight in units
    of what it would be if the gradients were orthogonal.

    Raises:
        NoWeightError: If a gradient is 0.
    """
    lengths, power = lengths_of(gramian), 1 / alpha
    units = lengths ** (-2 / (1 + power))
    matrix = correlations(gramian) * np.outer(units * lengths, units * lengths)
    x, pull = np.ones(len(units)), units ** (1 - power)

    def slope(x: Floats) -> Floats:
        return _floats(matrix @ x - pull * x**-power)

    for _ in range(100):
        step = np.linalg.solve(matrix + np.diag(power * pull * x ** (-power - 1)), -slope(x))
        if (abs(step) <= 1e-14 * x).all():
            break
        size = min(1.0, 0.9 / max(1e-300, (-step / x).max()))  # all stay positive
        fall = slope(x) @ step
        for _ in range(50):  # until the slope along the step is smaller than it was
            if slope(x + size * step) @ step <= -0.9 * fall:
                break
            size /= 2
        x = x + size * step
    return units * x


def _cosines(gramian: Tensor) -> tuple[Floats, Floats]:
    """Cosines between the gradients, 0 where one has no length, and their lengths."""
    lengths = np.sqrt(gramian.diagonal().numpy())
    safe = np.where(lengths > 0, lengths, 1)
    lower = np.tril(gramian.numpy() / np.outer(safe, safe))  # all that `eigh` reads: rounding makes the halves differ
    return _floats(lower + np.tril(lower, -1).T), _floats(lengths)


def _floats(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _nonnegative(columns: Floats, target: Floats) -> Floats:
    """The y >= 0 with the least `|columns @ y - target|`; columns of length 0 get 0."""
    lengths = np.linalg.norm(columns, axis=0)
    safe, size = np.where(lengths > 0, lengths, 1), np.linalg.norm(target) or 1.0
    found, _ = nnls(columns / safe, target / size, maxiter=100 * len(lengths))
    return _floats(found * size / safe)
