"""One network on one dataset, measured by one protocol after another: what they share is read and computed once."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from tessera import registry
from tessera.measure import Evaluation, Features, Protocol
from tessera.models.store import load_measured
from tessera.registry import Options
from tessera.training.compute import Compute


class Measured:
    """A network, a dataset and a trial. A protocol finds what it would find in a process of its own, to the last bit.

    Args:
        inputs: Role to artifact folder: `dataset`, and `network` or `source`.
        trial: Its number seeds whatever is drawn.
        options: Of the protocols to come, so that one pass gives the features of them all.
    """

    def __init__(self, inputs: Mapping[str, Path], trial: int, compute: Compute, options: Iterable[Options]) -> None:
        self.inputs, self.trial = dict(inputs), trial
        self.model, self.mean, self.std = load_measured(inputs.get("network") or inputs["source"], compute.device)
        self._state = torch.get_rng_state()
        expected = [read for part in options for read in protocol_of(part).reads()]
        self.features = Features(self.model, self.mean, self.std, compute, expected)
        self._datasets = dict[Any, Any]()
        self._labeled = dict[Any, Any]()

    def by(self, options: Options, label_fraction: float, compute: Compute, resume: Path) -> Evaluation:
        """What a protocol finds.

        Args:
            label_fraction: Share of each class whose labels may be read.
            resume: Folder of the job's unfinished state.
        """
        protocol = protocol_of(options)
        protocol.shared = self.features
        load, choose = type(protocol).load, type(protocol).labeled  # the same for all that do not have their own
        if load not in self._datasets:
            self._datasets[load] = protocol.load(self.inputs["dataset"], compute.device)
        dataset = self._datasets[load]
        if (load, choose, label_fraction) not in self._labeled:
            self._labeled[load, choose, label_fraction] = protocol.labeled(dataset, label_fraction, self.trial)
        labeled = self._labeled[load, choose, label_fraction]
        torch.set_rng_state(self._state)  # as a process has it that has just made the network
        return protocol.evaluate(self.model, self.mean, self.std, dataset, labeled, compute, self.trial, resume)


def protocol_of(options: Options) -> Protocol:
    """The protocol that a study names."""
    protocol: Protocol = registry.load("protocol", options.name)(options)
    return protocol
