"""The teacher of a transfer: the source encoder, frozen."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from tessera.data.normalization import Normalization
from tessera.errors import StudyError
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

    def classifier_of(self, method: str, classes: Sequence[str]) -> StoredClassifier:
        """The source's own classifier, of these very classes.

        Args:
            method: The transfer that asks for it.
            classes: The target's.

        Raises:
            StudyError: If the source has none, or one of other classes: a label would mean one thing here and another
                there.
        """
        found = self.need_classifier(method)
        remedy = "choose the source's dataset as target, or another transfer"
        if len(found.classes) != len(classes):
            raise StudyError(
                f"transfer `{method}`: the source tells {len(found.classes)} classes apart, but the target has "
                f"{len(classes)}: {remedy}"
            )
        for label, (learned, asked) in enumerate(zip(found.classes, classes, strict=True)):
            if learned != asked:
                raise StudyError(
                    f"transfer `{method}`: class {label} is `{learned}` in the source, but `{asked}` in the target: "
                    f"{remedy}"
                )
        return found

    def need_classifier(self, method: str) -> StoredClassifier:
        """The source's own classifier.

        Raises:
            StudyError: If it has none.
        """
        if self.classifier is None:
            raise StudyError(
                f"transfer `{method}` reads the source's own classifier, but the source learned no labels: "
                "give source.tasks a supervised task, or choose another transfer"
            )
        return self.classifier

    @property
    def z(self) -> str:
        """Name of the encoder's last map."""
        return list(self.encoder.layer_channels)[-1]

    @torch.no_grad()
    def maps(self, pixels: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Maps of these names, of pixels (N, 3, H, W) float32 in [0, 1]; no gradient."""
        return self.encoder.maps(self.normalize(pixels), names)

    def attached_maps(self, pixels: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """The same, with their graph to the pixels, where these require a gradient."""
        return self.encoder.maps(self.normalize(pixels), names)

    def features(self, pixels: Tensor) -> Tensor:
        """The average of z over space, (N, num_features) float32; no gradient."""
        return pooled(self.maps(pixels, (self.z,))[self.z])


def pooled(z: Tensor) -> Tensor:
    """The average of maps (N, C, h, w) over space, (N, C) float32."""
    return z.float().mean(dim=(2, 3))
