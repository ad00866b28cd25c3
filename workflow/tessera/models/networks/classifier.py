"""An encoder made a classifier: its last map averaged, then one linear layer or a few."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.models.encoders.freezing import freeze
from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.base import TargetNetwork
from tessera.models.networks.options import ClassifierOptions


class EncoderClassifier(TargetNetwork):
    """The encoder, global average pooling and a classifier whose last layer starts at small random weights.

    Args:
        options: What the study set; its `encoder` is not read, since the encoder is given.
        encoder: Kept, not copied.
        num_classes: Number of logits.
    """

    head: Any  # a linear layer, or a sequence that ends in one

    def __init__(self, options: ClassifierOptions, encoder: Encoder, num_classes: int) -> None:
        super().__init__()
        self.options, self.encoder = options, encoder
        layers = VectorHead(encoder.num_features, options.hidden, num_classes).layers
        self.head = layers if options.hidden else layers[-1]
        output = layers[-1]
        assert isinstance(output, nn.Linear)
        self.embedding_size = output.in_features
        nn.init.normal_(output.weight, std=0.01)
        nn.init.zeros_(output.bias)
        self.layer_channels = encoder.layer_channels
        self.inner_channels = encoder.inner_channels
        self._frozen: tuple[nn.Module, ...] = ()

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        return self.encoder.layers(images)

    def maps(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        return self.encoder.maps(images, names)

    def embedding(self, z: Tensor) -> Tensor:
        embedded = z.mean(dim=(2, 3))
        for layer in list(self.head)[:-1] if self.options.hidden else ():
            embedded = layer(embedded)
        return embedded

    def logits(self, embedding: Tensor) -> Tensor:
        layer = self.head[-1] if self.options.hidden else self.head
        logits: Tensor = layer(embedding)
        return logits

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        return self.encoder.stage_pairs

    def freeze(self, num_layers: int) -> None:
        """Keeps everything as it is up to the n-th named layer: weights and batch-norm statistics.

        Raises:
            StudyError: If the encoder has fewer layers.
        """
        self._frozen = freeze(self.encoder, num_layers)
        self.train(self.training)

    def train(self, mode: bool = True) -> "EncoderClassifier":
        """As of any module, but frozen layers stay in eval mode, so that their statistics rest too."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def load_head(self, head: VectorHead) -> None:
        """Takes the weights of a trained head with as many hidden units and outputs."""
        self.head.load_state_dict((head.layers if self.options.hidden else head.layers[-1]).state_dict())
