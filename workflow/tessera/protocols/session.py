"""One network on one dataset, measured by one protocol after another: what they share is read and computed once."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from tessera import registry
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import Features
from tessera.registry import Options
from tessera.training.compute import Compute


class Session:
    """A network, a dataset and a trial. A protocol finds what it would find in a process of its own, to the last bit.

    Args:
        inputs: Role to the folder that is read: `dataset`, and `network` or `source`.
        trial: Its number seeds whatever is drawn.
        options: Of the protocols to come, so that one pass gives the features of them all.
    """

    def __init__(self, inputs: Mapping[str, Path], trial: int, compute: Compute, options: Iterable[Options]) -> None:
        self.inputs, self.trial = dict(inputs), trial
        self._expected = [read for part in options for read in protocol_of(part).reads()]
        self._models = dict[Any, tuple[Measured, Features, torch.Tensor]]()
        self._datasets = dict[Any, Any]()
        self._columns = dict[Any, Any]()
        self._labeled = dict[Any, Any]()

    def by(
        self, options: Options, label_fraction: float, compute: Compute, resume: Path, labels: str | None = None
    ) -> Evaluation:
        """What a protocol finds.

        Args:
            label_fraction: Share of each class whose labels may be read.
            resume: Folder of the job's unfinished state.
            labels: The dataset's label column that is read; None: `class`.
        """
        protocol = protocol_of(options)
        model, load, choose = type(protocol).model, type(protocol).load, type(protocol).labeled  # alike, mostly
        if model not in self._models:
            measured = protocol.model(self.inputs.get("network") or self.inputs["source"], compute.device)
            features = Features(measured.model, measured.normalization, compute, self._expected)
            self._models[model] = measured, features, torch.get_rng_state()
        measured, protocol.shared, state = self._models[model]
        if load not in self._datasets:
            self._datasets[load] = protocol.load(self.inputs["dataset"], compute.device)
        if (load, labels) not in self._columns:
            whole = self._datasets[load]
            self._columns[load, labels] = whole if labels is None else whole.by(labels)
        dataset, chosen = self._columns[load, labels], (load, labels, choose, label_fraction)
        if chosen not in self._labeled:
            self._labeled[chosen] = protocol.labeled(dataset, label_fraction, self.trial)
        labeled = self._labeled[chosen]
        torch.set_rng_state(state)  # as a process has it that has just made the network
        return protocol.evaluate(measured, dataset, labeled, compute, self.trial, resume)


def protocol_of(options: Options) -> Protocol:
    """The protocol that a study names."""
    protocol: Protocol = registry.load("protocol", options.name)(options)
    return protocol
