"""The teacher of a transfer: the source encoder, frozen."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tessera.data.normalization import Normalization
from tessera.models.encoders.base import Encoder
from tessera.models.store import StoredClassifier, StoredEncoder
from tessera.registry import Options


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
