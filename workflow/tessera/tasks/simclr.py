"""SimCLR: which of the other views in the batch is of the same image?"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.distortions import Strengths, draw
from tessera.models.heads.vectors import ProjectionHead
from tessera.tasks.base import Preview, Task, TaskBatch
from tessera.tasks.options.base import view_px
from tessera.tasks.options.contrast import SimCLROptions


class SimCLR(Task):
    """Cross-entropy over the other 2N - 1 views of a batch, one of which is of the same image (NT-Xent).

    For the views i and j of an image, l(i, j) = -log(exp(s_ij / t) / sum over k != i of exp(s_ik / t)): s is the cosine
    of what the projection head makes of two views, t the temperature. The loss is the mean over both orders and all
    images.

    Source: Chen, Kornblith, Norouzi & Hinton, ICML 2020, arXiv:2002.05709, Eq. 1, Algorithm 1, appendix A and, for
    32 px, B.9: no blur, and half the colour jitter. The authors' code adds the means of the two orders, which doubles
    the loss, resizes by bicubic interpolation, and has batch norms in the head (`batch_norm`). All 2N views go through
    the encoder together, so batch norms see both of an image's views, as theirs over all devices do.

    Libraries of losses have it for any labels, over lists of pairs whose lengths are read from the device in every step
    (pytorch-metric-learning's `NTXentLoss`, to which this one is equal); with two views an image it is three lines. On
    distortions see `Distortions.of`.

    Shape:
        inputs: (2N, 3, V, V) float32, normalised, the two views of an image side by side.
        labels: (2N,) int64, the row of the other view.
        prediction: (2N, dim).
    """

    options: SimCLROptions

    def setup(self) -> None:
        options = self.options
        assert options.color is not None
        assert options.blur is not None
        self.strengths = Strengths(
            options.least_area, options.flip, options.color, options.jitter, options.gray, options.blur
        )

    def build_head(self, num_features: int) -> nn.Module:
        assert self.options.hidden is not None
        return ProjectionHead(num_features, self.options.hidden, self.options.dim, batch_norm=self.options.batch_norm)

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        """See `Task.make_batch`.

        Raises:
            ValueError: If there is one image only.
        """
        number, side = 2 * len(images), images.shape[-1]
        if number < 4:
            raise ValueError("simclr tells an image from others of the batch, but it has one image.")
        distortions = draw(number, side, generator, self.strengths)
        views = distortions.of(images.repeat_interleave(2, dim=0), view_px(side))
        return TaskBatch(self.normalize(views), torch.arange(number, device=images.device) ^ 1)

    def loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        assert self.options.temperature is not None
        return F.cross_entropy(similarities(prediction) / self.options.temperature, labels)

    @torch.no_grad()
    def metrics(self, prediction: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Share of views whose nearest is the other one of their image; a tie counts for nothing."""
        found = similarities(prediction)
        as_near = (found >= found.gather(1, labels[:, None])).sum(dim=1)
        return {"accuracy": (as_near == 1).float().mean()}

    def chance(self) -> dict[str, float]:
        # It depends on how many there are to choose from.
        if self.statistics.batch_size is None:
            return {}
        others = 2 * self.statistics.batch_size - 1
        return {"loss": math.log(others), "accuracy": 1 / others}

    def preview(self, batch: TaskBatch, prediction: Tensor, number: int) -> Preview:
        """A view of each image, the view in the batch that is nearest to it, and the right one."""
        nearest = similarities(prediction).argmax(dim=1)[: 2 * number : 2]
        right = batch.labels[: 2 * number : 2]
        rows = {"shown": torch.arange(0, 2 * number, 2, device=right.device), "nearest": nearest, "right": right}
        views = {name: self.denormalize(batch.inputs[of]) for name, of in rows.items()}
        hits = int((nearest == right).sum())
        return Preview(
            views, f"{hits} of {number} views are nearest to the other one of their image, among {len(prediction) - 1}."
        )


def similarities(vectors: Tensor) -> Tensor:
    """The cosine of each two vectors, and minus infinity of each with itself: (M, D) to (M, M) float32."""
    units = F.normalize(vectors.float(), dim=1)
    return (units @ units.T).fill_diagonal_(-math.inf)
