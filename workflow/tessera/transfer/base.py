"""What every transfer method is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tessera.data.images import Images, in_slices
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, Split
from tessera.data.views import to_unit
from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder
from tessera.models.networks.base import TargetNetwork
from tessera.models.store import StoredClassifier, StoredEncoder
from tessera.registry import Options
from tessera.training.compute import Compute


class Augment(Protocol):
    """From images (N, 3, H, W) uint8 to a random view of each, of the same shape."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor: ...


class Teacher:
    """The source encoder, frozen, in eval mode, with the statistics of the images that it was trained on.

    Attributes:
        encoder: On the device, batch-norm statistics re-estimated.
        options: What it was built from.
        normalization: Of the source's images.
        classifier: The source's own, where it was trained on labels and the method asks for it.
    """

    def __init__(
        self,
        encoder: Encoder,
        options: Options,
        normalization: Normalization,
        classifier: StoredClassifier | None = None,
    ) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.options, self.classifier = options, classifier
        self.normalization = normalization
        self._normalize = normalization.of_pixels(next(encoder.parameters()).device)

    @classmethod
    def of(cls, stored: StoredEncoder, classifier: StoredClassifier | None = None) -> "Teacher":
        """The teacher that an artifact holds."""
        return cls(stored.encoder, stored.options, stored.normalization, classifier)

    def normalize(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1] to the encoder's input."""
        return self._normalize(pixels)

    @torch.no_grad()
    def maps(self, pixels: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Maps of these names, of pixels (N, 3, H, W) float32 in [0, 1]; no gradient."""
        return self.encoder.maps(self.normalize(pixels), names)

    def features(self, pixels: Tensor) -> Tensor:
        """The average of z over space, (N, num_features) float32; no gradient."""
        last = list(self.encoder.layer_channels)[-1]
        return self.maps(pixels, (last,))[last].float().mean(dim=(2, 3))


class Views(NamedTuple):
    """One batch of images, augmented once: the same pixels for teacher and student.

    Shape:
        pixels: (N, 3, H, W) float32 in [0, 1]; the teacher normalises them in its own way.
        inputs: (N, 3, H, W) float32, the same, normalised for the student.
    """

    pixels: Tensor
    inputs: Tensor


LARGE_PX = 96


def chunks(images: Images, number: int) -> Iterator[Tensor]:
    """The images in turn, (n, 3, H, W) uint8: `number` at once, or fewer where they are larger than 96 px."""
    height, width = images.shape[-2:]
    return in_slices(images, max(1, min(number, number * LARGE_PX**2 // (height * width))))


@dataclass(frozen=True)
class TargetImages:
    """What a method may look at before training.

    Attributes:
        dataset: The target's.
        labeled: The training images whose labels may be read.
        augment: Makes the training's random views; None: the training does not augment.
        normalize: From pixels in [0, 1] to the student's input.
    """

    dataset: Dataset
    labeled: Split
    augment: Augment | None
    normalize: Callable[[Tensor], Tensor]

    def views(self, images: Tensor, generator: torch.Generator) -> Views:
        """A batch as the training sees it, from images (N, 3, H, W) uint8: augmented where the training augments."""
        if self.augment is not None:
            images = self.augment(images, generator=generator)
        pixels = to_unit(images).contiguous(memory_format=torch.channels_last)
        return Views(pixels, self.normalize(pixels))


class TransferMethod(nn.Module, ABC):
    """How knowledge reaches the target network. A module, since some methods have trainable adapters.

    Args:
        options: What the study set.
    """

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    def build_network(self, network: TargetNetwork | None, teacher: Teacher | None, num_classes: int) -> TargetNetwork:
        """The network that is trained; the target network as it is, unless the method is one with the encoder."""
        assert network is not None
        return network

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """What must be learned or measured of the teacher before training; returns figures to report.

        Repeats exactly for the same arguments: a resumed training calls it again. `network` is new, and stays so.
        """
        return {}

    def first_stage_images(self, images: TargetImages) -> Split:
        """Images of the first stage, which reads no labels."""
        return images.dataset.train

    def first_stage_loss(self, views: Views, network: TargetNetwork) -> Tensor:
        """Loss of the first stage, from the source alone, (), float32; only two-stage methods have one."""
        raise NotImplementedError

    def first_stage_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        """(modules, factor on the learning rate) pairs for the first stage."""
        return [([network, self], 1.0)]

    def begin_epoch(
        self, network: TargetNetwork, images: TargetImages, compute: Compute, trial: int, epoch: int
    ) -> dict[str, float]:
        """Called before each epoch of the stage with labels; returns figures for the epoch's row of the history.

        What it finds out lies in buffers, and depends on its arguments, these buffers and torch's random numbers, which
        are seeded anew for each call: so a resumed training ends with the same bytes. `network` stays as it is.
        """
        return {}

    @abstractmethod
    def loss(self, views: Views, labels: Tensor, network: TargetNetwork) -> tuple[Tensor, Tensor]:
        """Loss of the stage with labels, (), float32, and the student's logits (N, K).

        Shape:
            labels: (N,) int64.
        """

    def parameter_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        """(modules, factor on the learning rate) pairs for the stage with labels."""
        return [([network, self], 1.0)]

    def need(self, teacher: Teacher | None) -> Teacher:
        """The teacher.

        Raises:
            StudyError: If there is none.
        """
        if teacher is None:
            raise StudyError(
                f"transfer `{self.options.name}` needs a source encoder, but the job has no input `source`"
            )
        return teacher
