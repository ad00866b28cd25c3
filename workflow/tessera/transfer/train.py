"""Trains a target network under one transfer method: with a first stage or without, resumable after every epoch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tessera import registry
from tessera.data.images import image_batches
from tessera.data.store import Dataset, Split, label_subset
from tessera.data.views import flip_and_crop
from tessera.errors import DataError
from tessera.jobs import RecordTeacher, TransferKnowledge
from tessera.models.networks.base import TargetNetwork
from tessera.models.networks.build import build_network
from tessera.models.networks.classifier import EncoderClassifier
from tessera.models.store import NetworkAbout
from tessera.models.trained import Trained
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute
from tessera.training.learning_rate import learning_rates
from tessera.training.optimizer import load_optimizer, make_optimizer
from tessera.training.pace import Pace
from tessera.training.randomness import generator_of, index_batches, seed_of
from tessera.training.steps import check_course, check_loss, run_steps
from tessera.transfer.fixed_views import FixedViews
from tessera.transfer.images import Augment, TargetImages, Views
from tessera.transfer.method import TransferMethod
from tessera.transfer.options.base import fixed_number
from tessera.transfer.seen import see
from tessera.transfer.teacher import Teacher

CROP_FRACTION = 8  # the crop moves by at most an eighth of the image


@dataclass(frozen=True)
class Stage:
    """One of the two stages of a training.

    Attributes:
        groups: (modules, factor on the learning rate) pairs.
        loss: The loss of a batch from its views, labels and rows of `images`; and its logits where labels are read.
        begin: Called with the epoch before it; returns figures for its row.
    """

    name: str
    epochs: int
    images: Split
    groups: list[tuple[list[nn.Module], float]]
    loss: Callable[[Views, Tensor, Tensor], tuple[Tensor, Tensor | None]]
    begin: Callable[[int], dict[str, float]] = lambda _: {}


def train_network(
    settings: TransferKnowledge,
    teacher: Teacher | None,
    dataset: Dataset,
    compute: Compute,
    trial: int,
    resume: Path | None,
    recorded: Tensor | None = None,
) -> Trained:
    """Trains one target network; with no epochs, the network is as the method built it.

    The labelled subset, the first weights of the network and the batches of the stage with labels are drawn from the
    trial's number alone: every method of a trial gets the same.

    Args:
        teacher: The source encoder; None where the method reads none.
        dataset: The target's, on the device.
        resume: Folder of the unfinished training's state; None keeps none.
        recorded: The teacher's features of all views that are shown, (views, labelled images, C) float32, on the
            device; None: the teacher is asked.

    Raises:
        TesseraError: If the loss is not finite, or settings, networks and images do not fit together.
    """
    images = _target_images(settings, dataset, compute, trial)
    num_classes, checkpoint = len(dataset.classes), Checkpoint(resume)

    def start() -> _Training:
        torch.manual_seed(seed_of(trial, "network"))
        named = settings.network
        given = None if named is None else build_network(named, num_classes, dataset.image_size)
        method: TransferMethod = registry.load("transfer", settings.transfer.name)(settings.transfer)
        network = method.build_network(given, teacher, num_classes)
        compute.place(network)
        torch.manual_seed(seed_of(trial, "adapters"))
        figures = method.fit_teacher(network, teacher, images, compute, trial)
        compute.place(method)
        return _Training(settings, method, network, teacher, recorded, images, compute, trial, checkpoint, figures)

    training = checkpoint.resume(start, lambda fresh, state: fresh.load_state_dict(state))
    history, figures, network = training.run(), training.figures, training.network
    network.eval()
    about = _about(settings, network, teacher, dataset)
    if history:
        figures |= {f"train_{name.removeprefix('train_')}": history[-1][name] for name in ("loss", "train_accuracy")}
    return Trained(network, about, history, figures)


class _Training:
    """The stages of one training, and its state between epochs."""

    def __init__(
        self,
        settings: TransferKnowledge,
        method: TransferMethod,
        network: TargetNetwork,
        teacher: Teacher | None,
        recorded: Tensor | None,
        images: TargetImages,
        compute: Compute,
        trial: int,
        checkpoint: Checkpoint,
        figures: dict[str, float],
    ) -> None:
        self.settings, self.method, self.network, self.images = settings, method, network, images
        self.teacher, self.recorded = teacher, recorded
        self.compute, self.trial, self.checkpoint, self.figures = compute, trial, checkpoint, figures
        self.history: list[dict[str, Any]] = []
        self.stages = self._stages() if settings.transfer.trains else []
        self.reached = 0  # epochs that are done of the stage at work
        self._optimizer: torch.optim.Optimizer | None = None  # of that stage, where it has begun

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from such a state.

        Raises:
            Exception: Whatever comes of one that does not fit; this training is then to be thrown away.
        """
        course = ({"stage": stage.name, "epoch": epoch + 1} for stage in self.stages for epoch in range(stage.epochs))
        check_course(state["history"], sum(stage.epochs for stage in self.stages), course)
        self.history = list(state["history"])
        if (state["stage"], state["epoch"]) != (self.history[-1]["stage"], self.history[-1]["epoch"]):
            raise ValueError("its history ends with another epoch than it is the state of")
        self.network.load_state_dict(state["network"])
        self.method.load_state_dict(state["method"])
        begun = next(number for number, stage in enumerate(self.stages) if stage.name == state["stage"])
        self.stages, self.reached = self.stages[begun:], state["epoch"]
        self._optimizer = make_optimizer(self.settings.optimizer, *self.stages[0].groups)
        load_optimizer(self._optimizer, state["optimizer"])

    def run(self) -> list[dict[str, Any]]:
        """Runs the stages, or what is left of them; returns the rows of the history."""
        for stage in self.stages:
            # A new optimiser each: momentum and the course of the learning rate begin anew.
            optimizer = self._optimizer or make_optimizer(self.settings.optimizer, *stage.groups)
            self._run_stage(stage, optimizer, self.reached)
            self._optimizer, self.reached = None, 0
        return self.history

    def _stages(self) -> list[Stage]:
        method, network = self.method, self.network
        stages = []
        if self.settings.transfer.two_stage and self.settings.first_stage_epochs > 0:
            stages.append(
                Stage(
                    "first",
                    self.settings.first_stage_epochs,
                    method.first_stage_images(self.images),
                    method.first_stage_groups(network),
                    lambda views, *_: (method.first_stage_loss(views, network), None),  # it never sees labels
                )
            )
        groups = method.parameter_groups(network)
        begin = partial(method.begin_epoch, network, self.images, self.compute, self.trial)
        stages.append(Stage("second", self.settings.epochs, self.images.labeled, groups, self._with_labels, begin))
        return stages

    def _with_labels(self, views: Views, labels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        recorded = None
        if self.recorded is not None and self.images.fixed is not None and views.chosen is not None:
            which = torch.stack([views.chosen // self.images.fixed.images, rows]).to(
                self.recorded.device, non_blocking=True
            )
            recorded = self.recorded[which[0], which[1]]
        index = self.images.index[rows].to(labels.device, non_blocking=True)
        if self.settings.transfer.differentiates_input:
            pixels = views.pixels.requires_grad_()
            views = views._replace(pixels=pixels, inputs=self.images.normalize(pixels))
        seen = see(views, labels, index, self.network, self.teacher, self.method.reads, recorded)
        return self.method.loss(seen, self.network), seen.logits

    def _run_stage(self, stage: Stage, optimizer: torch.optim.Optimizer, done: int) -> None:
        settings, options = self.settings, self.settings.optimizer
        progress = Pace(f"{settings.transfer.word()}, {stage.name} stage", stage.epochs, done)
        for epoch in range(done, stage.epochs):
            torch.manual_seed(seed_of(self.trial, stage.name, "begin", epoch))
            found = stage.begin(epoch)
            torch.manual_seed(seed_of(self.trial, stage.name, "dropout", epoch))
            self.network.train()
            generator = generator_of(self.trial, stage.name, "batches", epoch)
            rows = index_batches(len(stage.images), settings.batch_size, settings.iterations, generator)
            rates = learning_rates(options, epoch, stage.epochs, settings.iterations)
            labels = stage.images.labels[rows.to(stage.images.labels.device)]
            records = run_steps(
                zip(image_batches(stage.images.images, rows), labels, rows, strict=True),
                partial(self._step, stage, generator_of(self.trial, stage.name, "views", epoch)),
                optimizer,
                iter(rates),
                options.clip_norm,
            )
            figures = dict(zip(("loss", "train_accuracy"), records.double().mean(dim=0).tolist(), strict=False))
            where = f"in epoch {epoch + 1} of the {stage.name} stage"
            check_loss(figures["loss"], f"transfer `{settings.transfer.word()}`", where, options)
            seconds = progress.seconds()
            row = {"stage": stage.name, "epoch": epoch + 1, **figures, **found}
            self.history.append({**row, "learning_rate": rates[-1], "seconds": seconds})
            done_of = f"epoch {epoch + 1} of {stage.epochs} of the {stage.name} stage"
            self.checkpoint.save({
                "stage": stage.name,
                "epoch": epoch + 1,
                "network": self.network.state_dict(),
                "method": self.method.state_dict(),
                "optimizer": optimizer.state_dict(),
                "history": self.history,
            }, done_of)  # fmt: skip
            progress.epoch(rows.numel(), **figures)

    def _step(self, stage: Stage, generator: torch.Generator, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        images, labels, rows = batch
        shown = self.images.index[rows] if stage.images is self.images.labeled else rows
        views = self.images.views(images, shown, generator)
        with self.compute.autocast():
            loss, logits = stage.loss(views, labels, rows)
        loss.backward()  # type: ignore[no-untyped-call]
        if logits is None:
            return loss.detach()[None]
        accuracy = 100 * (logits.argmax(dim=1) == labels).float().mean()
        return torch.stack([loss.detach(), accuracy])


def _about(
    settings: TransferKnowledge, network: TargetNetwork, teacher: Teacher | None, dataset: Dataset
) -> NetworkAbout:
    options = network.options if isinstance(network, EncoderClassifier) else settings.network
    assert options is not None
    # Weights that were not trained here go with the statistics of the images that trained them.
    images = dataset if settings.transfer.trains or teacher is None else teacher
    return NetworkAbout(options, len(dataset.classes), dataset.image_size, images.normalization)


def _target_images(settings: TransferKnowledge, dataset: Dataset, compute: Compute, trial: int) -> TargetImages:
    if not (dataset.train.labels >= 0).any():
        raise DataError("the target's training images have no labels: choose a labelled dataset as target")
    index = labeled_rows(settings, dataset, trial)
    normalize = dataset.normalization.of_pixels(compute.device)
    return TargetImages(dataset, index, _augment(settings, dataset), normalize, fixed_views(settings, dataset, trial))


def fixed_views(settings: TransferKnowledge | RecordTeacher, dataset: Dataset, trial: int) -> FixedViews | None:
    """The views that are drawn once; None where each is new."""
    if not (number := fixed_number(settings.views)):
        return None
    padding = None if settings.augmentation == "none" else dataset.image_size // CROP_FRACTION
    return FixedViews.drawn(len(dataset.train), dataset.image_size, number, padding, trial)


def labeled_rows(settings: TransferKnowledge | RecordTeacher, dataset: Dataset, trial: int) -> Tensor:
    """Which training images have labels that may be read, (n,) int64, on the CPU: the same for all of a trial."""
    return label_subset(dataset.train.labels, settings.label_fraction, generator_of(trial, "labels"))


def _augment(settings: TransferKnowledge, dataset: Dataset) -> Augment | None:
    if settings.augmentation == "none":
        return None
    return partial(flip_and_crop, padding=dataset.image_size // CROP_FRACTION)
