"""Source only: the supervised source measured as it is."""

from torch import Tensor

from tessera.errors import StudyError
from tessera.models.networks.base import TargetNetwork
from tessera.models.networks.classifier import EncoderClassifier
from tessera.models.networks.options import ClassifierOptions
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.method import TransferMethod
from tessera.transfer.options import SourceOnlyOptions
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
            StudyError: If the source has no classifier, or one of another number of classes.
        """
        teacher = self.need(teacher)
        classifier = teacher.classifier
        if classifier is None:
            raise StudyError(
                "transfer `source_only` measures the source's own classifier, but the source learned no labels: "
                "give source.tasks a supervised task, or choose another transfer"
            )
        if len(classifier.classes) != num_classes:
            raise StudyError(
                f"transfer `source_only`: the source tells {len(classifier.classes)} classes apart, but the target has "
                f"{num_classes}: choose the source's dataset as target, or another transfer"
            )
        options = ClassifierOptions(encoder=teacher.options, hidden=classifier.hidden)
        built = EncoderClassifier(options, teacher.encoder, num_classes)
        built.load_head(classifier.head)
        return built.requires_grad_(False)

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Learns nothing.

        Raises:
            StudyError: If source and target have other classes: a label would mean one thing here and another there.
        """
        classifier = self.need(teacher).classifier
        assert classifier is not None
        for label, (learned, asked) in enumerate(zip(classifier.classes, images.dataset.classes, strict=True)):
            if learned != asked:
                raise StudyError(
                    f"transfer `source_only`: class {label} is `{learned}` in the source, but `{asked}` in the target: "
                    "choose the source's dataset as target, or another transfer"
                )
        return {}

    def loss(self, views: Views, labels: Tensor, network: TargetNetwork) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("nothing is trained")
