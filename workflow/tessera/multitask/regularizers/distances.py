"""Distances between distributions over channels (paper, Table 5), as Gibbs & Su 2002 define them.

Each takes p and q, (..., C), positive and of sum 1, and returns (...); natural logarithms. The first argument is
the features' distribution, the second the anchor's.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
SMALLEST = 1e-8  # share of a channel below which it is not told apart from zero


def positive(distribution: Tensor) -> Tensor:
    """Lifts every share to at least `SMALLEST`, and renormalises."""
    lifted = distribution.clamp(min=SMALLEST)
    return lifted / lifted.sum(dim=-1, keepdim=True)


def kld(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of p from q, 0 to infinity (paper, Eq. 3)."""
    return (p * (p.log() - q.log())).sum(dim=-1)


def reverse_kld(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of q from p, 0 to infinity."""
    return kld(q, p)


def jsd(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence, 0 to log 2."""
    middle = (p + q) / 2
    return (kld(p, middle) + kld(q, middle)) / 2


def hellinger(p: Tensor, q: Tensor) -> Tensor:
    """Hellinger distance without the factor 1 / sqrt(2), 0 to sqrt(2)."""
    # The small constant keeps the gradient finite where p equals q; the distance there is 1e-6.
    return ((p.sqrt() - q.sqrt()).square().sum(dim=-1) + 1e-12).sqrt()


def jeffrey(p: Tensor, q: Tensor) -> Tensor:
    """Sum of both Kullback-Leibler divergences, 0 to infinity."""
    return ((p - q) * (p.log() - q.log())).sum(dim=-1)


def chi2(p: Tensor, q: Tensor) -> Tensor:
    """Chi-squared distance, 0 to infinity; dominated by small shares of q."""
    return ((p - q).square() / q).sum(dim=-1)


def wasserstein(p: Tensor, q: Tensor) -> Tensor:
    """Kantorovich distance along the channels' index, 0 to C - 1. The order of channels carries no meaning."""
    return (p.cumsum(dim=-1) - q.cumsum(dim=-1)).abs().sum(dim=-1)


def wasserstein_values(p: Tensor, q: Tensor) -> Tensor:
    """Mean difference of the sorted shares, 0 to 2 / C: which channel has which share does not matter."""
    return (p.sort(dim=-1).values - q.sort(dim=-1).values).abs().mean(dim=-1)


def _scaled_hellinger(p: Tensor, q: Tensor) -> Tensor:
    return hellinger(p, q) / math.sqrt(2)


def _scaled_wasserstein(p: Tensor, q: Tensor) -> Tensor:
    return wasserstein(p, q) / max(1, p.shape[-1] - 1)


DISTANCES: dict[str, Distance] = {
    "kld": kld,
    "reverse_kld": reverse_kld,
    "jsd": jsd,
    "hellinger": hellinger,
    "jeffrey": jeffrey,
    "chi2": chi2,
    "wasserstein": wasserstein,
    "wasserstein_values": wasserstein_values,
}
SCALED = DISTANCES | {"hellinger": _scaled_hellinger, "wasserstein": _scaled_wasserstein}


def distance(metric: str, p: Tensor, q: Tensor, *, scaled: bool = False) -> Tensor:
    """The named distance, in float32, after both were made positive.

    >>> distance("kld", torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.2, 0.3, 0.5]))
    tensor(0.2393)

    Shape:
        p, q: (..., C), any float dtype, sums 1; broadcast against each other.
        returns: (...) float32, or float64 where an argument is.
    """
    dtype = torch.promote_types(torch.promote_types(p.dtype, q.dtype), torch.float32)
    return (SCALED if scaled else DISTANCES)[metric](positive(p.to(dtype)), positive(q.to(dtype)))
