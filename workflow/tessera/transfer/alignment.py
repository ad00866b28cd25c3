"""Makes a teacher's and a student's map comparable where they have unlike numbers of channels.

A Gram matrix of a 16-channel map cannot be compared with one of a 48-channel map, and no paper says how it was done
here. Each of these brings one point, a layer of the teacher and one of the student, to a common width.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Moments:
    """First and second moments of a map's channels, over images and positions; grows batch by batch.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        self.channels, self._count = channels, 0
        self._total = torch.zeros(channels, dtype=torch.float64)
        self._products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, maps: Tensor) -> None:
        """Takes maps (N, C, h, w) in."""
        samples = maps.float().permute(1, 0, 2, 3).flatten(1)  # (C, N h w)
        self._count += samples.shape[1]
        self._total += samples.sum(dim=1).double().cpu()
        self._products += (samples @ samples.T).double().cpu()

    @property
    def mean(self) -> Tensor:
        """(C,) float64."""
        return self._total / self._count

    @property
    def second(self) -> Tensor:
        """The mean of x x^T, not centred, (C, C) float64."""
        return self._products / self._count

    @property
    def covariance(self) -> Tensor:
        """(C, C) float64."""
        return self.second - self.mean[:, None] * self.mean[None]

    @property
    def correlation(self) -> Tensor:
        """(C, C) float64; 0 between a channel that never changes and any other."""
        covariance = self.covariance
        # Relative to the mean square: below it the difference of the two moments is rounding.
        alive = covariance.diagonal() > 1e-6 * self.second.diagonal().clamp_min(1e-30)
        deviation = torch.where(alive, covariance.diagonal(), torch.inf).sqrt()
        correlation = covariance / deviation[:, None] / deviation[None]
        return correlation.clamp(-1, 1).fill_diagonal_(1.0)

    def rms(self, mix: Tensor | None = None) -> float:
        """Root mean square of the map's entries, after `mix` (C', C) if there is one."""
        squares = self.second.diagonal() if mix is None else ((mix @ self.second) * mix).sum(dim=1)
        return math.sqrt(max(squares.mean().item(), 1e-12))


class Mix(nn.Module):
    """A fixed linear combination of channels, (N, C, h, w) to (N, C', h, w)."""

    weight: Tensor

    def __init__(self, mix: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", mix.float()[:, :, None, None].contiguous())

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(images, self.weight)


class Scale(nn.Module):
    """Every entry times a fixed number."""

    factor: Tensor

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.factor


class Alignment(nn.Module):
    """One point: what is done to the teacher's map, whose mean square is 1 then, and to the student's."""

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.teacher, self.student = teacher, student


def principal_axes(moments: Moments, width: int) -> Tensor:
    """The first axes of principal component analysis, (width, C) float64, orthonormal rows.

    The sign of each is such that its component of largest magnitude is positive.
    """
    axes: Tensor = torch.linalg.eigh(moments.covariance).eigenvectors.flip(1).T[:width]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return axes * largest.sign()


def group_channels(moments: Moments, num_groups: int) -> Tensor:
    """Averages of channels that are alike: a matrix (num_groups, C) float64 whose rows sum to 1.

    Average linkage on 1 - correlation; groups are in the order of their first channels. The identity where there are
    as many groups as channels.
    """
    if moments.channels == num_groups:
        return torch.eye(num_groups, dtype=torch.float64)
    from sklearn.cluster import AgglomerativeClustering  # takes two seconds, and no other alignment needs it

    distance = (1 - moments.correlation).numpy()
    labels = AgglomerativeClustering(num_groups, metric="precomputed", linkage="average").fit(distance).labels_
    _, first = np.unique(labels, return_index=True)
    order = np.argsort(first)
    members = torch.from_numpy(labels[None] == order[:, None]).double()
    return members / members.sum(dim=1, keepdim=True)


def common(teacher: Moments, student: Moments, width: int) -> Alignment:
    """Both sides to the smaller width, at most `width`.

    The teacher by its principal axes on the target's images (applied to maps that are not centred, no whitening), the
    student by a 1x1 convolution without bias that is trained, and dropped after the first stage.
    """
    size = min(width, teacher.channels, student.channels)
    axes = principal_axes(teacher, size)
    return Alignment(Mix(axes / teacher.rms(axes)), nn.Conv2d(student.channels, size, 1, bias=False))


def channel_group(teacher: Moments, student: Moments, width: int) -> Alignment:
    """The wider side's channels, grouped by correlation and averaged, to the narrower one's; nothing is trained.

    Maps stay non-negative. The student's groups are those of its first weights. `width` is an upper bound on both.
    """
    size = min(width, teacher.channels, student.channels)
    groups = group_channels(teacher, size)
    return Alignment(Mix(groups / teacher.rms(groups)), Mix(group_channels(student, size)))


def student_conv1x1(teacher: Moments, student: Moments, width: int) -> Alignment:
    """The teacher's map as it is, but for its scale; the student by a trained 1x1 convolution to that width.

    `width` is not read: the teacher's own width is the common one. So a Gram matrix has as many entries as the product
    of the teacher's two widths. With ResNet-50's four stages that is 2.75 million numbers an image: 0.7 GB for each of
    teacher and student at batches of 64, and four times that while the loss is differentiated. ResNet-26's need 3 MB.
    """
    channels = teacher.channels
    scale = Scale(1 / teacher.rms())
    return Alignment(scale, nn.Conv2d(student.channels, channels, 1, bias=False))


ALIGNMENTS: dict[str, Callable[[Moments, Moments, int], Alignment]] = {
    "common": common,
    "channel_group": channel_group,
    "student_conv1x1": student_conv1x1,
}
