"""What can be set of the protocol by which a target is measured."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.data.labels import DOES, IN_WORDS, MAPS, Kind
from tessera.errors import brief
from tessera.figures import Figure, shares
from tessera.multitask.source import Source
from tessera.parts import PartOf
from tessera.registry import LATE, Options, choices, suggest

ACCURACY = Figure(name="accuracy", unit="%", guesses=1)


class ProtocolOptions(Options):
    """What the plan asks of every protocol.

    Attributes:
        measures: `encoder`: the frozen source encoder; `network`: the target network after transfer;
            `source`: the source's encoder with the heads that its tasks learned.
        stage: The stage that runs it.
        reports: Figures that it reports of every model, first the one that fills a table's cell.
        scores: Kind of labels that it scores, which dataset and network must be about too; of `source` those that its
            tasks learned, one of `scored`.
        reads_labels: Whether it learns from labels of training images, of which `label_fraction` is a share.
    """

    measures: ClassVar[Literal["encoder", "network", "source"]]
    stage: ClassVar[Literal["evaluate_target", "cluster_target"]] = "evaluate_target"
    reports: ClassVar[tuple[Figure, ...]] = ()
    scores: ClassVar[Kind] = "class"
    reads_labels: ClassVar[bool] = True

    @classmethod
    def scored(cls) -> frozenset[Kind]:
        """Kinds of labels of which it can score some."""
        return frozenset({cls.scores})

    def figures(self, source: Source | None) -> tuple[Figure, ...]:
        """What it reports of a target, first the one that fills a table's cell.

        Args:
            source: Of the cell; None where it is not known yet: figures that depend on it are then left out.
        """
        return self.reports

    def clashes(self, whole: Any) -> Iterator[str]:
        dataset, network, metric = whole.target.dataset, whole.target.network, whole.target.metric
        known = [figure.name for figure in self.figures(whole.source)]
        if metric is not None and metric not in known:
            yield f"protocol `{self.name}` has no metric `{brief(metric)}`. Known: {', '.join(known)}"
        yield from self._unlike(dataset, network)

    def _unlike(self, dataset: Any, network: Any) -> Iterator[str]:
        """The one rule of kinds: dataset, network and protocol are about the same."""
        found = set(dataset.label_columns().values())
        if self.scores not in found and self.scores == "class":
            others = choices("protocol", lambda options: not options.scored().isdisjoint(found))
            has = " and ".join(IN_WORDS[kind] for kind in sorted(found))
            yield (
                f"dataset `{dataset.name}` has {has}, which protocol `{self.name}` cannot score: set target.protocol "
                f"to {others}, or choose another target.dataset"
            )
        elif self.scores not in found:
            able = choices("dataset", lambda options: self.scores in options.kinds())
            yield (
                f"protocol `{self.name}` scores {IN_WORDS[self.scores]}, but dataset `{dataset.name}` has none: set "
                f"target.dataset to {able}"
            )
        if network.answers != self.scores == "class":
            others = choices("protocol", lambda options: options.scores == network.answers)
            yield (
                f"network `{network.name}` finds {IN_WORDS[network.answers]}, which protocol `{self.name}` cannot "
                f"score: set target.protocol to {others}, or choose another target.network"
            )
        elif network.answers != self.scores:
            able = choices("network", lambda options: options.answers == self.scores)
            yield (
                f"protocol `{self.name}` measures a network that {DOES[self.scores]}, but `{network.name}` does not: "
                f"set target.network to {able}"
            )


class ClassificationProtocolOptions(ProtocolOptions):
    """Top-1 accuracy of the target network on the test split, after the last epoch; `error` is what lacks to 100 %."""

    measures: ClassVar[Literal["encoder", "network", "source"]] = "network"
    reports: ClassVar[tuple[Figure, ...]] = (
        ACCURACY,
        Figure(name="error", unit="%", lower_is_better=True),
        Figure(name="top5_accuracy", unit="%", guesses=5),
        Figure(name="cross_entropy", lower_is_better=True),
    )

    name: Literal["classification"] = "classification"


class DetectionOptions(ProtocolOptions):
    """Mean average precision of the target network's boxes on the test split, as PASCAL VOC counts it."""

    measures: ClassVar[Literal["encoder", "network", "source"]] = "network"
    reports: ClassVar[tuple[Figure, ...]] = shares("map_voc07", "map_area")
    scores: ClassVar[Kind] = "boxes"

    name: Literal["detection"] = "detection"
    iou: float = Field(0.5, gt=0, le=1, description="A box finds an object that it overlaps by at least this IoU.")


class FrozenOptions(ProtocolOptions):
    """A classifier on standardised, frozen features of the source encoder."""

    measures: ClassVar[Literal["encoder", "network", "source"]] = "encoder"
    reports: ClassVar[tuple[Figure, ...]] = (ACCURACY, *shares("train_accuracy"))

    layer: str | None = Field(None, description="Layer of the encoder that is read; null: its last.")
    pool_px: int = Field(1, ge=1, le=8, description="The map is average-pooled to this height and width.")


class LinearProbeOptions(FrozenOptions):
    """Accuracy of logistic regression on standardised, frozen features of the source encoder."""

    name: Literal["linear_probe"] = "linear_probe"
    l2: float = Field(1e-2, ge=0, description="L2 penalty on the weights.")
    max_iterations: int = Field(200, ge=1, description="Largest number of L-BFGS iterations.")


class KnnOptions(ProtocolOptions):
    """Accuracy of the nearest neighbours by cosine of frozen features of the source encoder."""

    measures: ClassVar[Literal["encoder", "network", "source"]] = "encoder"
    reports: ClassVar[tuple[Figure, ...]] = (ACCURACY,)

    name: Literal["knn"] = "knn"
    layer: str | None = Field(None, description="Layer of the encoder that is read; null: its last.")
    pool_px: Annotated[int, LATE] = Field(
        1, ge=1, le=8, description="The map is average-pooled to this height and width."
    )
    neighbors: int = Field(20, ge=1, description="Number of neighbours k, at most the labelled images.")
    temperature: float = Field(0.07, gt=0, description="A vote weighs exp(cosine / temperature).")


class SvmOptions(FrozenOptions):
    """Accuracy of a support vector machine on standardised, frozen features of the source encoder."""

    name: Literal["svm"] = "svm"
    kernel: Literal["linear", "rbf"] = Field("linear", description="Kernel; `rbf` takes time quadratic in the images.")
    C: float = Field(1.0, gt=0, description="Weight of the errors on the training images, of 1 for the margin's.")
    max_iterations: int = Field(10_000, ge=1, description="Largest number of the solver's iterations.")


class DecisionTreeOptions(FrozenOptions):
    """Accuracy of one decision tree on frozen features of the source encoder."""

    name: Literal["decision_tree"] = "decision_tree"
    max_depth: int | None = Field(None, ge=1, description="Largest depth of the tree; null: until leaves are pure.")


class FewShotOptions(FrozenOptions):
    """Mean accuracy of telling classes from a few labelled images each, over many draws; frozen features."""

    # What guessing gives depends on `ways`: the artifact says it.
    reports: ClassVar[tuple[Figure, ...]] = (
        *shares("accuracy"),
        Figure(name="accuracy_std", unit="%", lower_is_better=True),
        Figure(name="accuracy_ci95", unit="%", lower_is_better=True),
    )

    name: Literal["few_shot"] = "few_shot"
    ways: int | None = Field(None, ge=2, description="Classes of an episode; null: all.")
    shots: int = Field(5, ge=1, description="Labelled training images of each class in an episode.")
    queries: int = Field(15, ge=1, description="Test images of each class in an episode.")
    episodes: int = Field(600, ge=2, description="Number of episodes.")
    classifier: Literal["nearest_mean", "logistic"] = Field(
        "nearest_mean", description="The class whose mean feature is nearest, or logistic regression."
    )


class TsneOptions(ProtocolOptions):
    """A map of frozen features of test images, drawn in the report, and accuracy of the nearest neighbour in it."""

    measures: ClassVar[Literal["encoder", "network", "source"]] = "encoder"
    reports: ClassVar[tuple[Figure, ...]] = (ACCURACY,)
    reads_labels: ClassVar[bool] = False

    name: Literal["tsne"] = "tsne"
    layer: str | None = Field(None, description="Layer of the encoder that is read; null: its last.")
    pool_px: Annotated[int, LATE] = Field(
        1, ge=1, le=8, description="The map is average-pooled to this height and width."
    )
    points: int = Field(2_000, ge=5, le=10_000, description="Largest number of test images, drawn by the trial's seed.")
    perplexity: float = Field(30.0, gt=0, le=1_000, description="About how many neighbours count.")


class ClusteringOptions(ProtocolOptions):
    """Deep embedded clustering of the target's images from the source encoder; no labels are read but to score."""

    measures: ClassVar[Literal["encoder", "network", "source"]] = "encoder"
    stage: ClassVar[Literal["evaluate_target", "cluster_target"]] = "cluster_target"
    reads_labels: ClassVar[bool] = False
    # Clusters are matched to the classes, so guessing does better than one in their number: no chance is told.
    reports: ClassVar[tuple[Figure, ...]] = shares(
        "accuracy", "nmi", "ari", "recall_at_1", "recall_at_5", "recall_at_10",
        "initial_accuracy", "initial_nmi", "initial_ari",
    )  # fmt: skip

    name: Literal["clustering"] = "clustering"
    embedding: Literal["linear10", "gap", "pca"] = Field(
        "linear10", description="A trainable layer to 10 dimensions that starts from PCA, plain features, or fixed PCA."
    )
    clusters: int | None = Field(None, ge=2, description="Number of clusters; null: the number of classes.")
    restarts: int = Field(20, ge=1, description="Restarts of k-means.")
    iterations: int = Field(2_000, ge=0, description="Largest number of iterations.")
    update_interval: int = Field(140, ge=1, description="Iterations between two target distributions.")
    tolerance: float = Field(1e-3, ge=0, lt=1, description="Stop when a smaller share of assignments changes.")
    batch_size: int = Field(256, ge=2, description="Images a batch.")
    learning_rate: float = Field(0.01, gt=0, description="Learning rate of SGD with momentum 0.9.")
    train_encoder: bool = Field(True, description="Adapt the encoder as well as embedding and centres.")
    images: int | None = Field(None, ge=10, description="Only this many images, drawn by the trial's seed; null: all.")


class TasksOptions(ProtocolOptions):
    """Each task of the source that learned labels, on the target's test split; figures are called `task.figure`."""

    measures: ClassVar[Literal["encoder", "network", "source"]] = "source"

    name: Literal["tasks"] = "tasks"

    @classmethod
    def scored(cls) -> frozenset[Kind]:
        return frozenset({"class", *MAPS})

    def figures(self, source: Source | None) -> tuple[Figure, ...]:
        tasks = source.tasks if source is not None and source.epochs > 0 else ()
        return tuple(
            figure.model_copy(update={"name": f"{task.key}.{figure.name}"}) for task in tasks for figure in task.figures
        )

    def clashes(self, whole: Any) -> Iterator[str]:
        source, dataset = whole.source, whole.target.dataset
        if whole.transfer.needs_source:
            yield (
                f"protocol `{self.name}` measures what the source's tasks have learned, but transfer "
                f"`{whole.transfer.name}` is for a network of the target: leave it out, or set target.protocol to "
                f"{choices('protocol', lambda options: options.measures == 'network')}"
            )
        if not self.figures(source):
            why = "is untrained (`source.epochs` is 0)" if source.epochs == 0 else "has no task that learns labels"
            able = choices("task", lambda options: options.reads is not None)
            yield (
                f"protocol `{self.name}` measures tasks that learn labels, but the source {why}: give source.tasks "
                f"{able}, or choose another target.protocol"
            )
            return
        yield from super().clashes(whole)
        kinds = dataset.label_columns()
        learned = {task.column: task.reads for task in source.tasks if task.column is not None}
        for column, kind in learned.items():
            if column not in kinds:
                yield (
                    f"a task of the source learns label column `{brief(column)}`, which target.dataset "
                    f"`{dataset.name}` does not have. {suggest(column, kinds)}"
                )
            elif kinds[column] != kind:
                yield (
                    f"a task of the source learns {IN_WORDS[kind]}, but label column `{column}` of target.dataset "
                    f"`{dataset.name}` has {IN_WORDS[kinds[column]]}: choose a dataset whose `{column}` is of that kind"
                )

    def _unlike(self, dataset: Any, network: Any) -> Iterator[str]:
        yield from ()  # no network of the target is read, and columns are looked for one by one


ProtocolPart = Annotated[ProtocolOptions, PartOf("protocol")]
