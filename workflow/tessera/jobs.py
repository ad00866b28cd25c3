"""What a job is: one run of a stage, with everything it needs to know. The contract between plan and scripts."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tessera.data.datasets.options.base import DatasetPart
from tessera.figures import Figure
from tessera.models.networks.options import NetworkOptions, NetworkPart
from tessera.multitask.snapshots import handed_on
from tessera.multitask.source import Source
from tessera.protocols.options import ProtocolPart
from tessera.registry import LATE, Checked
from tessera.training.options import OptimizerOptions
from tessera.transfer.options.base import TransferPart, ViewsWord


class Run(Checked):
    """How a job runs. No part of its key, save a precision that is asked for by name."""

    data_root: str = "data"
    device: str = "auto"
    precision: str = "auto"
    compile: Literal["auto"] | bool = "auto"
    threads: int = 1
    gpus: int = 1
    mlflow_uri: str | None = None
    mlflow_experiment: str = "tessera"
    studies: tuple[str, ...] = ()
    keep_state: bool = True


class Job(Checked):
    """One run of a stage. Its key is a hash of exactly what determines its result."""

    stage: str = Field(description="Name of the stage, as of its rule.")
    words: str = Field(description="Readable part of the folder's name.")
    version: int = Field(description="Version of the stage's results.")
    trial: int | None = Field(description="The trial, whose number seeds everything; None where nothing is drawn.")
    settings: dict[str, Any] = Field(description="Resolved settings, every option explicit.")
    inputs: dict[str, str] = Field(description="Role to artifact folder.")
    own_code: dict[str, str] = Field({}, description="Parts from outside of Tessera to the version of their code.")
    run: Run = Run()

    @property
    def key(self) -> str:
        """Eight hexadecimal digits of what determines the result; the inputs' names carry their own keys."""
        return key_of(
            self.stage, self.version, self.trial, self.settings, self.inputs, self.run.precision, self.own_code
        )

    @property
    def name(self) -> str:
        """Name of the artifact's folder: words first, then the key."""
        return f"{self.words}-{self.key}"

    @property
    def folder(self) -> str:
        """The artifact's folder, relative to the working directory."""
        return f"artifacts/{KINDS[self.stage].folder}/{self.name}"

    @property
    def manifest(self) -> str:
        """The file that is written last: an artifact without it does not exist."""
        return f"{self.folder}/artifact.json"


def key_of(
    stage: str,
    version: int,
    trial: int | None,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    precision: str,
    own_code: Mapping[str, str] | None = None,
) -> str:
    """The key of an artifact.

    Args:
        inputs: Role to artifact folder.
        precision: As it was asked for: one that is named is part of the key, where the stage computes.
        own_code: Parts from outside of Tessera to the version of their code (`tessera.own_code`).
    """
    content: list[Any] = [stage, version, trial, settings]
    content.append({role: folder.rpartition("-")[2] for role, folder in inputs.items()})
    if KINDS[stage].computes and precision != "auto":
        content.append(precision)
    if own_code:
        content.append({"own_code": own_code})
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:8]


class StageSettings(Checked):
    """Settings of a stage, typed. Bump `version` when the stage's *results* change; a golden test guards it.

    Attributes:
        rooms: Folders of the package whose code determines its results; a change of it is recorded in manifests, though
            only `version` changes keys.
    """

    stage: ClassVar[str]
    folder: ClassVar[str]
    rooms: ClassVar[tuple[str, ...]]
    version: ClassVar[int] = 1
    computes: ClassVar[bool] = True  # with a network, so that precision matters

    def reads(self, inputs: Mapping[str, Path]) -> dict[str, Path]:
        """Where what a stage reads lies, by role, of the artifacts that are its inputs."""
        return dict(inputs)


class ReadsEncoder(StageSettings):
    """Settings of a stage that may read a source's encoder, or a snapshot of it."""

    at: Annotated[int | None, LATE] = Field(
        None, description="Epoch at whose end the source's encoder is read; None: the training's end."
    )

    def reads(self, inputs: Mapping[str, Path]) -> dict[str, Path]:
        return {role: handed_on(folder, self.at) if role == "source" else folder for role, folder in inputs.items()}


class PrepareDataset(StageSettings):
    """Reads images from their origin, once. No inputs."""

    stage: ClassVar[str] = "prepare_dataset"
    folder: ClassVar[str] = "datasets"
    rooms: ClassVar[tuple[str, ...]] = ("data",)
    computes: ClassVar[bool] = False

    dataset: DatasetPart


class GeneratePretextLabels(StageSettings):
    """Makes what a task needs beforehand. Inputs: dataset, where labels are made from images."""

    stage: ClassVar[str] = "generate_pretext_labels"
    folder: ClassVar[str] = "pretext"
    rooms: ClassVar[tuple[str, ...]] = ("data", "tasks", "models", "training")
    computes: ClassVar[bool] = False

    task: dict[str, Any]


class PretrainSource(StageSettings):
    """Trains the encoder. Inputs: dataset; `labels.<task>` for each task that has prepared labels."""

    stage: ClassVar[str] = "pretrain_source"
    folder: ClassVar[str] = "source"
    rooms: ClassVar[tuple[str, ...]] = ("data", "tasks", "models", "multitask", "training")
    version: ClassVar[int] = 2

    source: Source


class TrainingState(StageSettings):
    """A training where its end begins, for a longer one that goes on from there. Inputs: those of the pretraining.

    No stage of its own: a pretraining leaves it beside its artifact (`tessera.states`), and none needs it.
    """

    stage: ClassVar[str] = "state"
    folder: ClassVar[str] = "states"
    rooms: ClassVar[tuple[str, ...]] = PretrainSource.rooms
    version: ClassVar[int] = PretrainSource.version

    source: dict[str, Any] = Field(description="Settings of the source, without those of its end.")
    epochs: int = Field(ge=1, description="Epochs that are done.")


class RecordTeacher(ReadsEncoder):
    """Records a teacher's features of views that are drawn once. Inputs: dataset (the target's), source."""

    stage: ClassVar[str] = "record_teacher"
    folder: ClassVar[str] = "teacher"
    rooms: ClassVar[tuple[str, ...]] = ("data", "models", "transfer", "training")

    views: ViewsWord
    augmentation: str
    label_fraction: float
    labels: Annotated[str | None, LATE] = Field(None, description="Column of the dataset's labels; None: `class`.")


class TransferKnowledge(ReadsEncoder):
    """Trains the target network.

    Inputs: dataset (the target's); source, where the method needs one; teacher, where what it says was recorded.
    """

    stage: ClassVar[str] = "transfer_knowledge"
    folder: ClassVar[str] = "transfer"
    rooms: ClassVar[tuple[str, ...]] = ("data", "models", "transfer", "detection", "training")

    transfer: TransferPart
    network: NetworkPart | None = Field(description="None where the method builds its own network.")
    label_fraction: float
    epochs: int = Field(description="Epochs with labels.")
    first_stage_epochs: int = Field(description="Epochs of the first stage; 0 where the method has none.")
    iterations: int
    batch_size: int
    augmentation: str
    optimizer: OptimizerOptions
    labels: Annotated[str | None, LATE] = Field(None, description="Column of the dataset's labels; None: `class`.")
    views: Annotated[ViewsWord, LATE] = "random"

    @property
    def trainer(self) -> str:
        """Function that runs such a job, as `module:function`: what the network says, else that of classifiers."""
        return str(getattr(self.network, "trainer", NetworkOptions.trainer))


class EvaluateTarget(ReadsEncoder):
    """Measures. Inputs: dataset (the target's); source or network, by what the protocol measures."""

    stage: ClassVar[str] = "evaluate_target"
    folder: ClassVar[str] = "target"
    rooms: ClassVar[tuple[str, ...]] = ("data", "models", "tasks", "multitask", "protocols", "detection", "training")

    protocol: ProtocolPart
    label_fraction: float
    labels: Annotated[str | None, LATE] = Field(None, description="Column of the dataset's labels; None: `class`.")


class ClusterTarget(ReadsEncoder):
    """Clusters and retrieves. Inputs: dataset (the target's), source."""

    stage: ClassVar[str] = "cluster_target"
    folder: ClassVar[str] = "clusters"
    rooms: ClassVar[tuple[str, ...]] = ("data", "models", "protocols", "clustering", "training")

    protocol: ProtocolPart
    labels: Annotated[str | None, LATE] = Field(None, description="Column of the dataset's labels; None: `class`.")


STAGES: dict[str, type[StageSettings]] = {
    cls.stage: cls
    for cls in (
        PrepareDataset,
        GeneratePretextLabels,
        PretrainSource,
        RecordTeacher,
        TransferKnowledge,
        EvaluateTarget,
        ClusterTarget,
    )
}
FOLDERS = {name: cls.folder for name, cls in STAGES.items()}
# Of what lies under artifacts/: what stages make, and what one leaves besides.
KINDS: dict[str, type[StageSettings]] = {**STAGES, TrainingState.stage: TrainingState}


class Comparison(Checked):
    """Two rows compared trial by trial, below the table."""

    row: str = Field(description="Label of the row in question.")
    against: str = Field(description="Label of the row it is compared with.")
    columns: Annotated[tuple[str, ...] | None, LATE] = Field(
        None, min_length=1, description="Columns that are compared; null: all in which both rows have a cell."
    )
    question: str | None = Field(None, description="What the comparison answers, in a few words.")
    yes_if: Literal["better", "worse"] | None = Field(
        None, description="What of the row answers the question with yes; without it the answer is above or below."
    )


class Delta(Checked):
    """A last column: by how much each row is better than one of them, relative to it, on the mean over columns."""

    label: str = Field("Δm", min_length=1, max_length=300, description="Name of the column.")
    against: str = Field(description="Label of the row that the others are compared with.")
    columns: tuple[str, ...] | None = Field(
        None, min_length=1, description="Columns that the mean is over; null: all in which that row has a cell."
    )


class DeltaColumn(Checked):
    """A study's `Delta`, resolved.

    Attributes:
        rows: Those that have a cell in each of the columns, save `against` itself.
        published: The paper's figures, %, by row.
    """

    label: str
    against: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    published: dict[str, float] = Field({})


class Moment(Checked):
    """A cell's measurement at the end of an epoch of the training that it follows."""

    epoch: int
    artifacts: tuple[str, ...] = Field(description="Folder of the measuring artifact, by trial.")


class Cell(Checked):
    """One cell of a table: what fills it, one artifact a trial.

    Attributes:
        artifacts: Folder of the measuring artifact (evaluate_target or cluster_target), by trial.
        figure: What of its metrics.json fills the cell.
        published: The paper's figure, where there is one.
        along: The same measured along the training, epochs ascending, the last of them the cell's own; empty where it
            is measured once.
    """

    row: str
    column: str
    protocol: str
    figure: Figure
    artifacts: tuple[str, ...]
    published: float | None = None
    along: Annotated[tuple[Moment, ...], LATE] = ()

    @property
    def metric(self) -> str:
        """The figure's name."""
        return self.figure.name

    @property
    def measured(self) -> tuple[str, ...]:
        """Every measuring artifact, of snapshots too, the cell's own first."""
        return tuple(dict.fromkeys((*self.artifacts, *(each for point in self.along for each in point.artifacts))))


class SummarizeStudy(Checked):
    """A study's table: rows, columns and cells, in order. Its key names the marker that its rule writes."""

    name: str
    title: str
    description: str
    scale: str
    trials: int
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    compare: tuple[Comparison, ...] = ()
    delta: Annotated[DeltaColumn | None, LATE] = None
    stand_ins: dict[str, str] = Field({}, description="Parts whose place another took at this scale.")
    part: Annotated[str, LATE] = Field("", description="The rows and columns that were asked for, where not all were.")
    left_out: tuple[str, ...] = Field((), description="Cells whose images were missing, in words.")
    artifacts: tuple[str, ...] = Field(description="Every artifact that the study needs, in the plan's order.")
    run: Run = Run()

    @property
    def key(self) -> str:
        """Eight hexadecimal digits of everything that the tables show."""
        content = self.model_dump(mode="json", exclude={"run"})
        for cell in content["cells"]:
            cell["metric"] = cell.pop("figure")["name"]  # its unit and direction are no choice of a study
        return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:8]

    @property
    def marker(self) -> str:
        """The rule's output; its name holds the key, so that another configuration refreshes the tables."""
        return f"results/{self.name}/provenance-{self.key}.json"
