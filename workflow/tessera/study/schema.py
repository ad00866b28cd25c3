"""The study language: pydantic models of studies, scales and methods."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tessera.data.datasets.options.base import DatasetPart
from tessera.data.labels import IN_WORDS
from tessera.errors import StudyError, brief
from tessera.jobs import Comparison, Delta
from tessera.models.networks.options import Augmentation, NetworkOptions, NetworkPart, ReducedAlexNetOptions
from tessera.multitask.source import Source
from tessera.parts import PartOf, models_in, named
from tessera.protocols.options import ClassificationProtocolOptions, ProtocolOptions, ProtocolPart
from tessera.registry import FAMILIES, LATE, Checked, Part, find, suggest
from tessera.study.files import describe, dotted
from tessera.training.options import OptimizerOptions
from tessera.transfer.options.base import RANDOM, NoTransferOptions, TransferPart, ViewsWord, fixed_number

LAST: Literal["last"] = "last"
ALL: Literal["all"] = "all"


def _moment(value: Any) -> Any:
    if value in (LAST, ALL) or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError(f"should be `last`, `all` or an epoch, from 1 on, but is {brief(repr(value))}")


class Target(Checked):
    """The target: labelled images, a small network, and how it is measured."""

    dataset: DatasetPart = Field(description="Images and labels that the target network learns from.")
    network: NetworkPart = Field(ReducedAlexNetOptions(), description="The target network.")
    protocol: ProtocolPart = Field(ClassificationProtocolOptions(), description="How the target is measured.")
    metric: str | None = Field(
        None, description="Figure of the protocol that fills the table's cell; null: the protocol's first."
    )
    label_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the training labels that may be read, balanced over the classes."
    )
    labels: Annotated[str | None, LATE] = Field(
        None, description="Column of the dataset's labels that is learned and scored; null: `class`."
    )
    epochs: int = Field(50, ge=1, description="Epochs with labels (the second stage of two-stage methods).")
    first_stage_epochs: int = Field(20, ge=1, description="Epochs of the first stage of two-stage methods.")
    iterations: int = Field(2_000, ge=1, description="Iterations an epoch, in either stage.")
    budget: Literal["second_stage", "total"] = Field(
        "total",
        description="Iterations of a method without a first stage: those of the second stage, or of both together.",
    )
    batch_size: int = Field(64, ge=2, description="Images a batch.")
    augmentation: Augmentation | None = Field(
        None,
        description="`crop_flip`: random flip and crop with an eighth of the image as padding; `ssd`, of networks that "
        "detect: colours, zoom out, crops that keep an object, flip; null: the one of the network's kind.",
    )
    views: Annotated[ViewsWord, LATE] = Field(
        "random",
        description="What augmentation shows of an image: `random`, a new view in every step; `fixed 4`, one of four "
        "that are drawn once a trial: then what a teacher says of them is computed once, for all rows with it.",
    )
    optimizer: OptimizerOptions = Field(OptimizerOptions(weight_decay=5e-4), description="Optimiser of both stages.")
    at: Annotated[Literal["last", "all"] | int, LATE, BeforeValidator(_moment)] = Field(
        LAST,
        description="When in its training the source's encoder is read: at its end (`last`); at the end of an epoch "
        "that `source.snapshots` keeps; or (`all`) at each of these, by what measures the encoder itself: then the "
        "cell is that of the end, and a figure shows the course. An encoder without training is measured once.",
    )
    layer: Annotated[str | None, LATE] = Field(
        None,
        description="Layer of the encoder that protocols on frozen features read; null: the protocol's own choice.",
    )
    pool_px: Annotated[int | None, LATE] = Field(
        None,
        ge=1,
        le=8,
        description="Its map is average-pooled to this height and width; null: the protocol's own choice, mostly 1.",
    )

    @field_validator("labels")
    @classmethod
    def _named_once(cls, value: str | None) -> str | None:
        return None if value == "class" else value  # one choice, one key

    def reader(self, source: Source) -> ProtocolOptions:
        """The protocol, which reads `layer` and `pool_px` if it reads a layer that can be chosen.

        An encoder's last layer is what is read without a name, and so it has none: one choice, one key.
        """
        known: tuple[str, ...] = source.encoder.layers  # type: ignore[attr-defined]
        layer = None if known and self.layer == known[-1] else self.layer
        asked = {"layer": layer if self.layer is not None else ..., "pool_px": self.pool_px or ...}
        fields = type(self.protocol).model_fields
        return self.protocol.model_copy(
            update={key: value for key, value in asked.items() if value is not ... and key in fields}
        )

    def moments(self, source: Source) -> tuple[int | None, ...]:
        """Epochs at whose end the cell reads the source's encoder, ascending; None is the end of the training."""
        if source.epochs == 0 or self.at == LAST:
            return (None,)
        if self.at == ALL:
            return (*(source.snapshot_epochs if self.protocol.measures != "network" else ()), None)
        assert isinstance(self.at, int)
        return (self.at if self.at < source.epochs else None,)

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        if whole.source.epochs > 0 and (self.protocol.measures != "network" or whole.transfer.needs_source):
            yield from self._too_late(whole.source)
            yield from self._learned_from(whole.source)
        yield from self._said_twice()
        if self.views != RANDOM and self.network.trainer != NetworkOptions.trainer:
            yield (
                f"views: network `{self.network.name}` is shown a new view in every step, never `{self.views}`: leave "
                "it out"
            )
        stages = [epochs for epochs in whole.stage_epochs if epochs > 0 and self.protocol.measures == "network"]
        if stages and (why := self.optimizer.too_long_for(min(stages))):
            yield f"{why}, or raise the target's epochs"
        if self.augmentation == "none" and fixed_number(self.views) > 1:
            yield f"views: `{self.views}` of images that are not augmented are all the same: say `fixed 1`"
        kinds, dataset, scores = self.dataset.label_columns(), self.dataset.name, self.protocol.scores
        fits = sorted(column for column, kind in kinds.items() if kind == scores)
        if self.labels is None:
            if scores == "class" and self.protocol.measures != "source" and fits and "class" not in kinds:
                yield f"dataset `{dataset}` has no label column `class`: set target.labels to {' or '.join(fits)}"
        elif self.protocol.measures == "source":
            yield (
                f"labels: protocol `{self.protocol.name}` scores the columns that the source's tasks learned, and no "
                f"other: leave out `{brief(self.labels)}`"
            )
        elif self.labels not in kinds:
            yield (
                f"labels: dataset `{dataset}` has no label column `{brief(self.labels)}`. {suggest(self.labels, kinds)}"
            )
        elif kinds[self.labels] != scores and fits:  # without, the protocol tells that it does not fit the dataset
            yield (
                f"labels: protocol `{self.protocol.name}` scores {IN_WORDS[scores]}, but column `{self.labels}` of "
                f"dataset `{dataset}` has {IN_WORDS[kinds[self.labels]]}. Columns that fit: {', '.join(fits)}"
            )

    def _learned_from(self, source: Source) -> Iterator[str]:
        """Refuses to measure on training images that the source learns from."""
        own, other = self.dataset, source.dataset
        if own.origin() == other.origin() and (own.within, other.within) == ("train", "all"):
            yield (
                f"dataset: `within: train` measures on a fifth of the training images of `{own.name}`, but the source "
                "learns from all of them: say `within: train` in source.dataset too"
            )

    def _too_late(self, source: Source) -> Iterator[str]:
        """Of moments that the source keeps nothing of."""
        if self.at == ALL and source.snapshots is None and self.protocol.measures != "network":
            yield (
                "at: `all` measures every snapshot of the encoder, but the source keeps none: set source.snapshots, "
                "such as `{every: 5}`, or leave at out"
            )
        if isinstance(self.at, int) and self.at not in (kept := (*source.snapshot_epochs, source.epochs)):
            has = f"those of epochs {', '.join(map(str, kept[:-1]))}" if len(kept) > 1 else "none"
            yield (
                f"at: the source keeps no snapshot of epoch {self.at}: it has {has}, and the end, epoch {kept[-1]}. "
                f"Name one of them, or add {self.at} to source.snapshots"
            )

    def _said_twice(self) -> Iterator[str]:
        """Of a layer, or its pooling, that the protocol says otherwise."""
        fields = type(self.protocol).model_fields
        for key in ("layer", "pool_px"):
            asked, own = getattr(self, key), getattr(self.protocol, key, None)
            if key in fields and asked is not None and own not in (fields[key].default, asked):
                yield (
                    f"{key}: `{brief(str(asked))}`, but target.protocol.{key} is `{brief(str(own))}`: keep one of them"
                )


class Experiment(Checked):
    """One cell of a table: source, transfer and target, every option resolved."""

    source: Source
    transfer: TransferPart = Field(NoTransferOptions(), description="How knowledge reaches the target network.")
    target: Target

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """Tells all that its models and parts do not go with, each at the side where it stands."""
        found = []
        for place, model in models_in(self):
            listed = f"{dotted(place[1:])}: " if place and isinstance(place[-1], int) else ""
            for line in model.clashes(self.source if place[:1] == ("source",) else self):
                message = PydanticCustomError("clash", "{line}", {"line": f"{listed}{line}"})
                found.append(InitErrorDetails(type=message, loc=place[:1], input=self))
        if found:
            raise ValidationError.from_exception_data(type(self).__name__, found)
        return self

    @property
    def stage_epochs(self) -> tuple[int, int]:
        """Epochs of the first and of the second stage; a method without a first stage may get the epochs of both."""
        transfer, target = self.transfer, self.target
        if not transfer.trains:
            return 0, 0
        if transfer.two_stage:
            return target.first_stage_epochs, target.epochs
        total = target.budget == "total" and not target.network.one_stage
        return 0, target.epochs + (target.first_stage_epochs if total else 0)

    def strict(self) -> Self:
        """The same, of datasets that refuse what is damaged instead of passing it over."""
        source = self.source.model_copy(update={"dataset": self.source.dataset.strict()})
        target = self.target.model_copy(update={"dataset": self.target.dataset.strict()})
        return self.model_copy(update={"source": source, "target": target})


Settings = dict[str, Any]


class Row(Checked):
    """An extra row: a label, and the settings that make it (dotted keys)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    label: str = Field(min_length=1, max_length=300, description="Name of the row.")
    column: str | None = Field(
        None,
        description="Name of the row's column, in which alone it stands: one that the grid has, or a new one, where it "
        "sets a column's key or the grid has none. Rows of one label, each of a column of its own, are one.",
    )


class Grid(Checked):
    """Settings that vary: `{key: [values]}` (all combinations), or a list of `{label, key: value}`."""

    rows: dict[str, list[Any]] | list[Settings] = Field({}, description="One row of the table for each.")
    columns: dict[str, list[Any]] | list[Settings] = Field({}, description="One column of the table for each.")

    @field_validator("rows", "columns", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        """Says in one line what pydantic would say once for each of the two forms."""
        if isinstance(value, dict):
            for key, values in value.items():
                key = brief(str(key))
                if not isinstance(values, list) or not values:
                    raise ValueError(
                        f"`{key}` should list its values, as in `{key}: [a, b]`, but is {brief(repr(values))}"
                    )
        elif isinstance(value, list):
            for item in value:
                if not isinstance(item, dict) or not item:
                    raise ValueError(f"should hold mappings of settings, but one is {brief(repr(item))}")
                if "column" in item:
                    raise ValueError("`column` names the column of a row under `also` only")
                if "label" in item and not (isinstance(item["label"], str) and item["label"]):
                    raise ValueError(f"`label` should be a name, but is {brief(repr(item['label']))}")
                if len(item.get("label", "")) > 300:
                    raise ValueError(f"`label` should have at most 300 letters, but has {len(item['label'])}")
        else:
            raise ValueError("should be `{key: [values]}` or a list of `{label: …, key: value}`")
        return value


def _find(family: str, name: str, where: str) -> Part:
    try:
        return find(family, name)
    except StudyError as error:
        raise ValueError(f"`{where}`: {error}") from None


class Scale(Checked):
    """How big a run is: budgets, image sizes and stand-ins, apart from what the study asks."""

    title: str = Field(min_length=1, description="What the scale is for.")
    source: Settings = Field({}, description="Settings under `source`, beneath the study's own.")
    target: Settings = Field({}, description="Settings under `target`, beneath the study's own.")
    protocols: dict[str, Settings] = Field(
        {},
        description="Settings under `target` of the cells that a protocol measures, over `target`: protocol, settings.",
    )
    parts: dict[str, dict[str, Settings]] = Field(
        {}, description="Options of parts at this scale: family, name, options."
    )
    stand_ins: dict[str, dict[str, Any]] = Field(
        {},
        description="Parts that take another's place at this scale: family, name, part. null: cells that name it are "
        "left out.",
    )

    @model_validator(mode="after")
    def _protocols_exist(self) -> "Scale":
        for name, settings in self.protocols.items():
            try:
                find("protocol", name)
            except StudyError as error:
                raise ValueError(f"`protocols`: {error}") from None
            known = [key for key in Target.model_fields if key != "protocol"]  # it chooses these settings
            for key in settings:
                if key not in known:
                    raise ValueError(f"`protocols.{name}.{brief(key)}`: unknown key. {suggest(key, known)}")
        return self

    @model_validator(mode="after")
    def _parts_exist(self) -> "Scale":
        for family, table in self.parts.items():
            if family not in FAMILIES:
                raise ValueError(f"`parts`: unknown family '{brief(family)}'. {suggest(family, FAMILIES)}")
            for name, options in table.items():
                known = _find(family, name, f"parts.{family}").options.model_fields
                for key in options:
                    if key not in known:
                        where = f"`parts.{family}.{name}.{brief(key)}`"
                        raise ValueError(f"{where}: unknown key. {suggest(key, known)}")
        return self

    @model_validator(mode="after")
    def _stand_ins_exist(self) -> "Scale":
        for family, table in self.stand_ins.items():
            if family not in FAMILIES:
                raise ValueError(f"`stand_ins`: unknown family '{brief(family)}'. {suggest(family, FAMILIES)}")
            for name, stand_in in table.items():
                _find(family, name, f"stand_ins.{family}")
                if stand_in is not None:
                    self._check_stand_in(family, name, named(stand_in, family))
        return self

    def _check_stand_in(self, family: str, name: str, part: Any) -> None:
        """Refuses here what a study would be blamed for later."""
        where = f"stand_ins.{family}.{name}"
        if isinstance(part, dict):
            part = {**self.parts.get(family, {}).get(str(part.get("name")), {}), **part}
        try:
            PartOf(family).parse(part)
        except PydanticCustomError as error:
            raise ValueError(f"`{where}`: {error.message()}") from None
        except ValidationError as error:
            # A misspelt key first: one that is needed may be missing for it.
            item = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
            known = find(family, str(part["name"])).options.model_fields
            raise ValueError(describe({**item, "loc": (*where.split("."), *item["loc"])}, known)) from None


class AtScale(Scale):
    """What a study changes of a scale: laid over the scale's own file, key by key, and beneath the study's base."""

    title: str = Field("", description="What the changes are for.")


class Study(Checked):
    """A study: data, never code."""

    title: str = Field(min_length=1, description="What the study asks, in a sentence.")
    description: str = Field("", description="What a reader should know; shown above the table.")
    scale: str | None = Field(None, description="Scale of this study where the configuration names none.")
    trials: int = Field(3, ge=1, le=1000, description="Repetitions; the trial's number seeds everything.")
    base: Settings = Field(description="Settings that every cell shares: source, transfer, target.")
    at_scale: dict[str, AtScale] = Field(
        {}, description="What this study changes of a scale, such as the budget of its own paper. Scale, changes."
    )
    grid: Grid = Field(Grid(), description="Settings that vary.")
    also: list[Row] = Field([], description="Rows that no grid gives: baselines, controls.")
    compare: list[Comparison] = Field([], description="Pairs of rows compared trial by trial, below the table.")
    delta: Delta | None = Field(None, description="A last column: the relative change against one row, over columns.")
    published: str | None = Field(
        None, description="CSV of published values (columns row, column, value), relative to the study's folder."
    )


class Method(Checked):
    """A named method of the literature: a combination of parts."""

    title: str = Field(min_length=1, description="What the method is.")
    paper: str = Field("", description="Where it comes from.")
    source: Settings = Field(description="Settings under `source`, laid beneath the study's own.")
    fixed: list[str] = Field(
        [],
        description="Keys whose preset stands over the study's base where a row or column names the method: "
        "they make it this method.",
    )
