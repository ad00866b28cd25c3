"""Soft assignment to clusters, and the distribution that it is drawn towards."""

import torch.nn.functional as F
from torch import Tensor


def squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """|z_i - mu_j|^2 as one matmul: an (N, K, D) difference would be some forty times slower.

    Shape:
        points: (N, D); centers: (K, D), of the same float dtype.
        returns: (N, K), at least 0.
    """
    squares = points.square().sum(1, keepdim=True) + centers.square().sum(1)
    return (squares - 2 * points @ centers.T).clamp_min(0)  # rounding can leave a point that is its centre below 0


def log_soft_assignment(points: Tensor, centers: Tensor) -> Tensor:
    """log q_ij, with q_ij = (1 + |z_i - mu_j|^2)^-1 / sum_j' (1 + |z_i - mu_j'|^2)^-1.

    Source: Xie, Girshick & Farhadi, ICML 2016, eq. (1) with alpha = 1, arXiv:1511.06335; in logarithms, so that a far
    centre has a finite loss.

    Shape:
        points: (N, D) float32; centers: (K, D) float32.
        returns: (N, K) float32; each row of its exponential sums to 1.
    """
    return F.log_softmax(-squared_distances(points, centers).log1p(), dim=1)


def target_distribution(soft: Tensor) -> Tensor:
    """p_ij = (q_ij^2 / f_j) / sum_j' (q_ij'^2 / f_j') with f_j = sum_i q_ij: sharper, and fair to small clusters.

    Source: Xie, Girshick & Farhadi, ICML 2016, eq. (3). The sum f_j is over the whole data set: of a mini-batch it
    would be another, noisier algorithm.

    Shape:
        soft: (N, K), q, rows sum to 1.
        returns: (N, K), rows sum to 1.
    """
    weight = soft.square() / soft.sum(0).clamp_min(1e-30)  # an empty cluster attracts nothing, instead of 0 / 0
    return weight / weight.sum(1, keepdim=True)


def divergence(target: Tensor, log_soft: Tensor) -> Tensor:
    """KL(P || Q) = sum_ij p_ij log(p_ij / q_ij), mean over the images.

    Source: Xie, Girshick & Farhadi, ICML 2016, eq. (2); the mean, so that the batch size does not scale the step.

    Shape:
        target: (N, K), p; log_soft: (N, K), log q.
        returns: ().
    """
    return F.kl_div(log_soft, target, reduction="batchmean")
