"""What every target network is."""

from abc import abstractmethod

from torch import Tensor

from tessera.models.encoders.base import LayeredNetwork


class TargetNetwork(LayeredNetwork):
    """From images to logits, in two parts: the named maps, and the classifier on the last of them.

    A class of the family takes its options, `num_classes` and `image_size`.
    """

    @abstractmethod
    def classify(self, z: Tensor) -> Tensor:
        """Logits (N, K) of the last entry of `layers`."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of normalised images (N, 3, H, W)."""
        last = list(self.layer_channels)[-1]
        return self.classify(self.maps(images, (last,))[last])
