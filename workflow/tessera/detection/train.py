"""Trains a detector, resumable after every epoch, on one device or on several."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from tessera.data.detection import DetectionDataset, Objects
from tessera.data.views import to_unit
from tessera.detection.augment import make_augmentation
from tessera.detection.batches import Order, load_batches
from tessera.detection.distribute import ALONE, Share, run_in_processes
from tessera.errors import StudyError
from tessera.jobs import TransferKnowledge
from tessera.models.encoders.freezing import freeze
from tessera.models.networks.base import DetectionNetwork
from tessera.models.networks.build import build_network, take_weights
from tessera.models.networks.options import DetectorOptions
from tessera.models.store import NetworkAbout, StoredEncoder
from tessera.models.trained import Trained
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute
from tessera.training.learning_rate import learning_rates
from tessera.training.optimizer import load_optimizer, make_optimizer
from tessera.training.pace import Pace
from tessera.training.randomness import seed_of
from tessera.training.steps import check_course, check_loss, run_steps

FIGURES = ("loss", "localization", "classification", "positives")


def train_detector(
    settings: TransferKnowledge,
    source: StoredEncoder | None,
    dataset: DetectionDataset,
    compute: Compute,
    trial: int,
    resume: Path | None,
) -> Trained:
    """Trains one detector.

    The first weights of what is not the encoder, and the batches, are drawn from the trial's number alone: every method
    of a trial gets the same. On several devices it takes the same batches, and the same weights come
    out up to rounding; with batch norm on processors, where each process normalises by its own share, others do.

    Args:
        source: Its encoder, whose weights the detector's encoder starts from, and whose input statistics it keeps;
            None: a fresh encoder, and the dataset's own statistics.
        compute: Spreads the training where it has several `processes`.
        resume: Folder of the unfinished training's state; None keeps none.

    Raises:
        TesseraError: If the loss is not finite, an image is damaged, settings, network and source do not fit together,
            or one of several processes dies.
    """
    if compute.processes == 1:
        return _resume(settings, source, dataset, compute, trial, resume).run()
    if settings.batch_size < compute.processes:
        raise StudyError(
            f"target.batch_size is {settings.batch_size}, too few for {compute.processes} GPUs. Lower `gpus`."
        )
    if source is not None:
        source = dataclasses.replace(source, encoder=copy.deepcopy(source.encoder).cpu())
    with TemporaryDirectory() as folder:
        kept = Path(folder) if resume is None else resume
        run_in_processes(_train_share, compute, (settings, source, dataset, trial, kept))
        # The state is that of the last epoch by now: what is left is to read it.
        alone = Compute(compute.device, compute.precision)
        return _resume(settings, source, dataset, alone, trial, kept).run()


def _train_share(
    share: Share,
    compute: Compute,
    settings: TransferKnowledge,
    source: StoredEncoder | None,
    dataset: DetectionDataset,
    trial: int,
    resume: Path,
) -> None:
    """What each of several processes does; the state that the first one keeps is all that they leave."""
    _resume(settings, source, dataset, compute, trial, resume, share).run()


def _resume(
    settings: TransferKnowledge,
    source: StoredEncoder | None,
    dataset: DetectionDataset,
    compute: Compute,
    trial: int,
    resume: Path | None,
    share: Share = ALONE,
) -> "_Training":
    """The training as its last state left it, or a new one."""
    checkpoint = Checkpoint(resume)
    return checkpoint.resume(
        lambda: _Training(settings, source, dataset, compute, trial, checkpoint, share), _Training.load_state_dict
    )


class _Training:
    """The epochs of one training, and its state between them."""

    def __init__(
        self,
        settings: TransferKnowledge,
        source: StoredEncoder | None,
        dataset: DetectionDataset,
        compute: Compute,
        trial: int,
        checkpoint: Checkpoint,
        share: Share = ALONE,
    ) -> None:
        self.settings, self.compute, self.trial, self.share = settings, compute, trial, share
        self.checkpoint = checkpoint
        images = dataset if source is None else source
        network = share.normalize_together(_build(settings, source, len(dataset.classes), trial))
        assert isinstance(network, DetectionNetwork)
        self.network = network
        compute.place(network)
        self.encoder_factor = _encoder_factor(settings, source)
        self.frozen = freeze(network.encoder, _num_frozen(settings, source))
        assert settings.network is not None
        self.about = NetworkAbout(settings.network, len(dataset.classes), network.image_size, images.normalization)
        self.normalize = images.normalization.of_pixels(compute.device)
        self.split = dataset.train
        self.augment = make_augmentation(settings.augmentation, network.image_size, dataset.mean)
        self.optimizer = make_optimizer(settings.optimizer, *self._groups())
        self.history: list[dict[str, Any]] = []

    def _groups(self) -> list[tuple[list[nn.Module], float]]:
        encoder = self.network.encoder
        copied = {id(parameter) for parameter in encoder.parameters()}
        new = nn.ParameterList(p for p in self.network.parameters() if id(p) not in copied)
        return [([encoder], self.encoder_factor), ([new], 1.0)]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from such a state.

        Raises:
            Exception: Whatever comes of one that does not fit; this training is then to be thrown away.
        """
        epochs = self.settings.epochs
        check_course(state["history"], epochs, ({"epoch": epoch + 1} for epoch in range(epochs)))
        self.history = list(state["history"])
        self.network.load_state_dict(state["network"])
        load_optimizer(self.optimizer, state["optimizer"])

    def run(self) -> Trained:
        """Runs the epochs, or what is left of them."""
        settings, network, history = self.settings, self.network, self.history
        done = len(history)
        if done < settings.epochs:
            order = Order(
                len(self.split), settings.batch_size, settings.iterations, done, settings.epochs, self.trial, self.share
            )
            with closing(load_batches(self.split, order, self.augment, self.compute.device)) as batches:
                self._train(batches)
        network.eval()
        figures = {f"train_{name}": history[-1][name] for name in FIGURES} if history else {}
        return Trained(network, self.about, history, figures)

    def _train(self, batches: Iterator[tuple[Tensor, list[Objects]]]) -> None:
        settings, optimizer, history = self.settings, self.optimizer, self.history
        network = self.share.wrap(self.network)
        progress = Pace("detection", settings.epochs, len(history))
        for epoch in range(len(history), settings.epochs):
            torch.manual_seed(seed_of(self.trial, "detection", "dropout", epoch, self.share.rank))
            network.train()
            for module in self.frozen:
                module.eval()
            rates = learning_rates(settings.optimizer, epoch, settings.epochs, settings.iterations)
            records = run_steps(
                islice(batches, settings.iterations),
                lambda batch: self._step(network, *batch),
                optimizer,
                iter(rates),
                settings.optimizer.clip_norm,
            )
            figures = dict(zip(FIGURES, records.double().mean(dim=0).tolist(), strict=True))
            check_loss(figures["loss"], "detection", f"in epoch {epoch + 1}", settings.optimizer)
            seconds = progress.seconds()
            history.append({"epoch": epoch + 1, **figures, "learning_rate": rates[-1], "seconds": seconds})
            if self.share.rank == 0:
                self.checkpoint.save({
                    "network": self.network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "history": history,
                }, f"epoch {epoch + 1} of {settings.epochs}")  # fmt: skip
            progress.epoch(settings.iterations * settings.batch_size, **figures)

    def _step(self, network: nn.Module, images: Tensor, objects: list[Objects]) -> Tensor:
        """Leaves gradients; returns the figures of the whole batch, (4,)."""
        images = self.normalize(to_unit(images.contiguous(memory_format=torch.channels_last)))
        with self.compute.autocast():
            losses = network(images, objects)
        names = ("localization", "classification", "positives")
        parts = self.share.sum(torch.stack([losses[name].detach().float() for name in names]))
        number = parts[2].clamp(min=1)
        loss = (losses["localization"] + losses["classification"]) / number
        (loss * self.share.processes).backward()
        localization, classification = parts[:2] / number
        each = parts[2] / self.settings.batch_size
        return torch.stack([localization + classification, localization, classification, each])


def _build(settings: TransferKnowledge, source: StoredEncoder | None, num_classes: int, trial: int) -> DetectionNetwork:
    """The network, its encoder's weights the source's where there is one.

    Raises:
        StudyError: If the source's encoder is another one than the network's.
    """
    options = settings.network
    if not isinstance(options, DetectorOptions):
        raise StudyError("target.network: the job names no network that detects.")
    torch.manual_seed(seed_of(trial, "network"))
    # Its own encoder is drawn in any case, so that what comes after starts the same whether a source follows or not.
    network: DetectionNetwork = build_network(options, num_classes, options.image_size)
    if source is not None:
        take_weights(network, options, source.encoder, source.options)
    return network


def _num_frozen(settings: TransferKnowledge, source: StoredEncoder | None) -> int:
    """Named layers of the encoder that stay as the source left them: all of them where they learn at no rate."""
    if source is None:
        return 0
    if _encoder_factor(settings, source) == 0:
        return len(source.encoder.layer_channels)
    return int(getattr(settings.transfer, "freeze_layers", 0))


def _encoder_factor(settings: TransferKnowledge, source: StoredEncoder | None) -> float:
    """Learning rate of the encoder's weights, of the others'."""
    return 1.0 if source is None else float(getattr(settings.transfer, "lr_factor", 1.0))
