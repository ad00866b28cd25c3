"""Fine-tuning: the source encoder itself becomes the target network."""

import copy

from torch import nn

from tessera.models.networks.base import TargetNetwork
from tessera.models.networks.build import take_weights
from tessera.models.networks.classifier import EncoderClassifier
from tessera.models.networks.options import ClassifierOptions
from tessera.transfer.method import TransferMethod
from tessera.transfer.options.base import FineTuneOptions
from tessera.transfer.teacher import Teacher


class FineTune(TransferMethod):
    """The encoder, copied, with a new linear head; copied layers learn at a fraction of the head's rate.

    `lr_factor` 0 keeps the whole encoder as it is, batch-norm statistics included. Its input is normalised with the
    target's statistics, as for every method: then it has mean 0 and deviation 1, as in the source training.

    Args:
        options: What the study set.
    """

    options: FineTuneOptions

    def build_network(self, network: TargetNetwork | None, teacher: Teacher | None, num_classes: int) -> TargetNetwork:
        """The encoder with a head: the target network where it stands on such an encoder, else a linear layer.

        Raises:
            StudyError: If `freeze_layers` is more than the encoder has, or the network stands on another encoder.
        """
        teacher = self.need(teacher)
        if isinstance(network, EncoderClassifier):
            built = network
            take_weights(built, built.options, teacher.encoder, teacher.options)
        else:
            encoder = copy.deepcopy(teacher.encoder).requires_grad_(True)
            built = EncoderClassifier(ClassifierOptions(encoder=teacher.options), encoder, num_classes)
        built.freeze(self.options.freeze_layers)
        if self.options.lr_factor == 0:
            built.freeze(len(built.layer_channels))
        return built

    def network_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        assert isinstance(network, EncoderClassifier)
        return [([network.encoder], self.options.lr_factor), ([network.head], 1.0)]
