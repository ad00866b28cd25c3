"""Rotation prediction: by how many quarter turns was the image turned?"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tessera.data.views import to_unit
from tessera.models.heads.vectors import VectorHead
from tessera.tasks.base import Preview, TaskBatch, random_views
from tessera.tasks.choice import ChoiceTask
from tessera.tasks.options.patches import RotationOptions

NUM_TURNS = 4


class Rotation(ChoiceTask):
    """Classify the rotation of an image: 0, 90, 180 or 270 degrees, counter-clockwise.

    Source: Gidaris, Singh & Komodakis, ICLR 2018 (RotNet), arXiv:1803.07728, section 2. An image is mirrored and
    cropped at random before it is turned. The paper feeds all four copies of an image in one step (`all_turns`); by
    default we draw one, so that a step costs as much as that of another task of the same batch size.

    The label is the number of quarter turns. Turning moves pixels and interpolates none, so no trace of it is left.

    Shape:
        inputs: (N, 3, V, V) float32, normalised; with `all_turns` (4 N, 3, V, V), the copies of an image side by side.
        labels: (N,) or (4 N,) int64, 0 to 3.
        prediction: (N, 4) or (4 N, 4) logits.
    """

    options: RotationOptions
    num_choices = NUM_TURNS

    def build_head(self, num_features: int) -> nn.Module:
        return VectorHead(num_features, self.options.hidden, NUM_TURNS, dropout=self.options.dropout)

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        views = random_views(images, generator)
        if self.options.all_turns:
            turns = torch.arange(NUM_TURNS, device=images.device).repeat(len(views))
            views = views.repeat_interleave(NUM_TURNS, dim=0)
        else:
            turns = torch.randint(NUM_TURNS, (len(views),), generator=generator)
            turns = turns.to(images.device, non_blocking=True)
        return TaskBatch(self.normalize(to_unit(turned(views, turns))), turns)

    def preview(self, batch: TaskBatch, prediction: Tensor, number: int) -> Preview:
        """The images as shown, turned back as predicted, and as they were."""
        pictures = self.denormalize(batch.inputs)[:number]
        right, guessed = (turns[:number].cpu() for turns in (batch.labels, prediction.argmax(dim=1)))
        views = {"shown": pictures, "turned back": turned(pictures, -guessed), "right": turned(pictures, -right)}
        return Preview(views, f"{int((right == guessed).sum())} of {len(right)} rotations are right.")


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """Turns each image by its own number of quarter turns, counter-clockwise.

    Shape:
        images: (N, C, H, H) any dtype.
        turns: (N,) int64; taken modulo 4.
        returns: the shape of `images`.
    """
    every = torch.stack([images.rot90(turn, dims=(-2, -1)) for turn in range(NUM_TURNS)])
    return every[turns % NUM_TURNS, torch.arange(len(images), device=images.device)]
