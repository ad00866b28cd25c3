"""Source only: the supervised source measured as it is."""

from tessera.models.networks.base import TargetNetwork
from tessera.models.networks.classifier import EncoderClassifier
from tessera.models.networks.options import ClassifierOptions
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages
from tessera.transfer.method import TransferMethod
from tessera.transfer.options.base import SourceOnlyOptions
from tessera.transfer.teacher import Teacher


class SourceOnly(TransferMethod):
    """The source's encoder with the classifier that it learned with, e.g. fully connected layers 512-256-C.

    Source: Kim, Lee & Song 2019, Table 4, row of the supervised source. Nothing is trained; images are normalised with
    the source's statistics.

    Args:
        options: What the study set.
    """

    options: SourceOnlyOptions

    def build_network(self, network: TargetNetwork | None, teacher: Teacher | None, num_classes: int) -> TargetNetwork:
        """The encoder with its classifier.

        Raises:
            StudyError: If the source has no classifier.
        """
        teacher = self.need(teacher)
        classifier = teacher.need_classifier(self.options.name)
        options = ClassifierOptions(encoder=teacher.options, hidden=classifier.hidden)
        built = EncoderClassifier(options, teacher.encoder, len(classifier.classes))
        built.load_head(classifier.head)
        return built.requires_grad_(False)

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Learns nothing.

        Raises:
            StudyError: If source and target have other classes.
        """
        self.need(teacher).classifier_of(self.options.name, images.dataset.classes)
        return {}
