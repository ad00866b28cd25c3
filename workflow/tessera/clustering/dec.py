"""Deep embedded clustering: an encoder's features, drawn together around the centres of k-means."""

import copy
import itertools
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tessera.clustering.assignment import divergence, log_soft_assignment, target_distribution
from tessera.clustering.embedding import embed_features
from tessera.clustering.retrieval import nearest_neighbors, recalls
from tessera.clustering.scores import agreement, match_clusters, size_entropy
from tessera.data.images import Images, concatenate, image_batches, in_slices
from tessera.data.store import Dataset, Split
from tessera.errors import DataError, TesseraError
from tessera.models.encoders.base import LayeredNetwork
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import extract_features
from tessera.protocols.labels import with_labels
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute
from tessera.training.optimizer import load_optimizer, make_optimizer
from tessera.training.options import OptimizerOptions
from tessera.training.randomness import generator_of, index_batches, seed_of
from tessera.training.steps import check_course, run_steps

log = logging.getLogger("tessera")


class ClusterNetwork(nn.Module):
    """An encoder, an embedding of its mean-pooled features, and cluster centres.

    Args:
        encoder: None where it is frozen: then the inputs are its features, computed once.

    Shape:
        inputs: (N, 3, H, W) uint8, or (N, C) float32 features.
        returns: (N, D) float32.
    """

    def __init__(
        self,
        encoder: LayeredNetwork | None,
        embedding: nn.Module,
        centers: Tensor,
        normalize: Callable[[Tensor], Tensor],
        compute: Compute,
    ) -> None:
        super().__init__()
        self.encoder, self.embedding, self.centers = encoder, embedding, nn.Parameter(centers)
        self._normalize, self._compute = normalize, compute
        self.eval()  # for good: batch-norm statistics stay those of the source

    def forward(self, inputs: Tensor) -> Tensor:
        if self.encoder is not None:
            images = self._normalize(inputs)
            with self._compute.autocast():
                maps = self.encoder(images)
            inputs = maps.float().mean((2, 3))
        points: Tensor = self.embedding(inputs)
        return points

    @torch.no_grad()
    def embed(self, inputs: Images) -> Tensor:
        """The points of every image, in batches."""
        return torch.cat([self(batch) for batch in in_slices(inputs, 500)])


class _Turns:
    """Where a refinement stands between two updates of its target."""

    def __init__(self, options: Any, network: ClusterNetwork, previous: Tensor) -> None:
        self.options, self.network, self.previous = options, network, previous
        course = OptimizerOptions(learning_rate=options.learning_rate, weight_decay=0.0)
        self.optimizer = make_optimizer(course, ([network], 1.0))
        self.iteration, self.history = 0, list[dict[str, float]]()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from such a state.

        Raises:
            Exception: Whatever comes of one that does not fit; this refinement is then to be thrown away.
        """
        updates = range(0, self.options.iterations, self.options.update_interval)
        check_course(state["history"], len(updates), ({"iteration": iteration} for iteration in updates))
        self.history = list(state["history"])
        done = min(len(self.history) * self.options.update_interval, self.options.iterations)
        if state["iteration"] != done or state["previous"].shape != self.previous.shape:
            raise ValueError(f"it is the state of iteration {state['iteration']}, or of other images")
        self.network.load_state_dict(state["network"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.iteration, self.previous = done, state["previous"].to(self.previous)
        log.info("clustering: going on after iteration %d of at most %d", done, self.options.iterations)


class DeepEmbeddedClustering(Protocol):
    """Clusters the target's images from the source encoder, and retrieves in the embedding that results.

    K-means gives the first centres; then encoder, embedding and centres follow the gradient of KL(P || Q), where the
    target P sharpens the soft assignments Q. P is of the whole data set and stands for `update_interval` iterations.
    It ends when fewer than `tolerance` of the images change cluster between two updates.

    Source: Xie, Girshick & Farhadi, ICML 2016, arXiv:1511.06335, on the images of training and test split together, as
    there. The encoder takes the place of the paper's stacked autoencoder (Kim, Lee & Song 2019, section 4.4); its
    batch-norm statistics are frozen. Labels are read only to score.

    Raises:
        DataError: If there are fewer images than clusters.
        TesseraError: If the loss is no longer finite.
    """

    def evaluate(
        self,
        measured: Measured,
        dataset: Dataset,
        labeled: Split,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        options, model = self.options, measured.model
        split, index = self._draw(dataset, trial)
        clusters = options.clusters or len(dataset.classes)
        if len(split) < clusters:
            raise DataError(f"clustering: {len(split)} images cannot make {clusters} clusters: lower `clusters`")
        images, labels = split.images.to(compute.device), split.labels.cpu().numpy()

        features = extract_features(model, images, measured.normalization, compute)
        seed = seed_of(trial, "clustering", "kmeans")
        embedding, first = embed_features(options.embedding, features, clusters, options.restarts, seed)
        normalize = measured.normalization.of_images(compute.device)
        inputs: Images = images if options.train_encoder else features

        def build() -> ClusterNetwork:
            encoder = copy.deepcopy(model).requires_grad_(True) if options.train_encoder else None
            return ClusterNetwork(encoder, copy.deepcopy(embedding), first.centers.clone(), normalize, compute)

        points, assignments, history = self._refine(build, inputs, first.assignments, labels, trial, resume)
        neighbors = nearest_neighbors(points, 10)
        initial = agreement(labels, first.assignments.cpu().numpy())
        hard = assignments.cpu().numpy()
        metrics = {
            **agreement(labels, hard),
            **recalls(split.labels.to(compute.device), neighbors),
            **{f"initial_{name}": value for name, value in initial.items()},
        }
        arrays = {
            "labels": labels,
            "predictions": match_clusters(labels, hard)[hard],
            "assignments": hard,
            "initial_assignments": first.assignments.cpu().numpy(),
            "embedding": points.cpu().numpy(),
            "neighbors": neighbors.cpu().numpy(),
            "indices": index.cpu().numpy(),
        }
        return Evaluation(metrics, arrays, history)

    def _draw(self, dataset: Dataset, trial: int) -> tuple[Split, Tensor]:
        """The images to cluster, and their positions in the training split followed by the test split."""
        both = [dataset.train, dataset.test]
        everything = Split(concatenate([s.images for s in both]), torch.cat([s.labels for s in both]))
        with_labels(everything, "the target dataset")
        index = (everything.labels >= 0).nonzero().flatten().cpu()
        if self.options.images is not None:
            # Not balanced over the classes: that would read labels before the clusters are found.
            order = torch.randperm(len(index), generator=generator_of(trial, "clustering", "images"))
            index = index[order[: self.options.images]].sort().values
        return everything.subset(index), index

    def _refine(
        self,
        build: Callable[[], ClusterNetwork],
        inputs: Images,
        previous: Tensor,
        labels: Any,
        trial: int,
        resume: Path | None,
    ) -> tuple[Tensor, Tensor, list[dict[str, float]]]:
        """Turns of one target distribution each; returns points, assignments and one row an update."""
        options = self.options
        checkpoint = Checkpoint(resume, "clustering")
        turns = checkpoint.resume(lambda: _Turns(options, build(), previous), _Turns.load_state_dict)
        network, optimizer, iteration, history = turns.network, turns.optimizer, turns.iteration, turns.history
        previous = turns.previous
        while True:
            points = network.embed(inputs)
            log_soft = log_soft_assignment(points, network.centers.detach())
            target = target_distribution(log_soft.exp())
            assignments = log_soft.argmax(1)
            row = self._row(iteration, divergence(target, log_soft), assignments, previous, labels, log_soft.shape[1])
            history.append(row)
            if iteration >= options.iterations or (iteration > 0 and row["changed"] < options.tolerance):
                self._report_end(row)
                return points, assignments, history
            steps = min(options.update_interval, options.iterations - iteration)
            self._train(network, inputs, target, optimizer, steps, generator_of(trial, "clustering", iteration))
            iteration, previous = iteration + steps, assignments
            checkpoint.save(
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "iteration": iteration,
                    "history": history,
                    "previous": previous,
                },
                f"iteration {iteration} of at most {options.iterations}",
            )

    def _train(
        self,
        network: ClusterNetwork,
        inputs: Images,
        target: Tensor,
        optimizer: torch.optim.Optimizer,
        steps: int,
        generator: torch.Generator,
    ) -> None:
        def backward(batch: tuple[Tensor, Tensor]) -> Tensor:
            index, some = batch
            loss = divergence(target[index], log_soft_assignment(network(some), network.centers))
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        batches = index_batches(len(inputs), min(self.options.batch_size, len(inputs)), steps, generator)
        rates = itertools.repeat(self.options.learning_rate)
        drawn = zip(batches.to(target.device), image_batches(inputs, batches), strict=True)
        run_steps(drawn, backward, optimizer, rates, clip_norm=None)

    def _row(
        self, iteration: int, loss: Tensor, assignments: Tensor, previous: Tensor, labels: Any, clusters: int
    ) -> dict[str, float]:
        """What is known at an update; `kl` is the loss that the next turn starts from."""
        if not math.isfinite(loss.item()):
            raise TesseraError(
                f"clustering: the loss is {loss.item()} at iteration {iteration}. "
                f"Lower target.protocol.learning_rate (now {self.options.learning_rate:g})."
            )
        hard = assignments.cpu().numpy()
        row = {
            "iteration": iteration,
            "kl": loss.item(),
            "changed": (assignments != previous).double().mean().item(),
            "accuracy": agreement(labels, hard)["accuracy"],
            "size_entropy": size_entropy(hard, clusters),
            "empty_clusters": clusters - len(set(hard.tolist())),
        }
        log.info("clustering: %s", ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
        return row

    def _report_end(self, row: dict[str, float]) -> None:
        if row["empty_clusters"] > 0 or row["size_entropy"] < 0.5:
            log.warning(
                "clustering: collapsed: %d clusters are empty, entropy of their sizes %.2f of 1; lower learning_rate, "
                "or set train_encoder: false",
                row["empty_clusters"], row["size_entropy"],
            )  # fmt: skip
