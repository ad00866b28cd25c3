"""A map of frozen features in two dimensions: do images of a class lie together?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from tessera.data.store import Dataset, Split
from tessera.errors import DataError
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import Read
from tessera.training.compute import Compute, library_threads
from tessera.training.randomness import generator_of, seed_of

LEAST = 5  # points; with fewer, none has a neighbourhood
MAP = "map.json"  # what a picture says of the map


def map_points(points: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Coordinates in which neighbours stay neighbours: t-SNE, from PCA as the start.

    Source: van der Maaten & Hinton, JMLR 2008; scikit-learn's implementation and its settings.

    Args:
        perplexity: About how many neighbours count; at most a third of the points.
        seed: The same points and seed give the same map.

    Shape:
        points: (N, D) float, N at least 5.
        returns: (N, 2) float32.
    """
    exact = points.astype(np.float64)
    # PCA needs two directions in which the points differ; an encoder that has collapsed has none.
    spread = np.linalg.matrix_rank(exact - exact.mean(axis=0)) >= 2
    model = TSNE(
        perplexity=min(perplexity, (len(exact) - 1) / 3),
        init="pca" if spread else "random",
        random_state=seed % 2**32,
        n_jobs=1,  # its sums depend on the number of threads
    )
    with library_threads():
        coordinates: np.ndarray = model.fit_transform(exact).astype(np.float32)
    return coordinates


class Tsne(Protocol):
    """A map of frozen features of test images, for the report, and how well classes lie apart in it.

    Which images: of those with a label, drawn by the trial's seed, so that all encoders are shown by the same ones.
    Features are pooled over space and not scaled, as nearest neighbours in the encoder's own space are meant.

    The accuracy is that of a point's nearest neighbour in the map, itself left out.

    Source: van der Maaten & Hinton, JMLR 2008; the error of one nearest neighbour as in van der Maaten, AISTATS 2009.
    """

    def reads(self) -> Sequence[Read]:
        return [(self.options.layer, self.options.pool_px)]

    def evaluate(
        self,
        measured: Measured,
        dataset: Dataset,
        labeled: Split,
        compute: Compute,
        trial: int,
        resume: Path | None = None,
    ) -> Evaluation:
        shared = self.features(measured, compute)
        part = shared.labeled(dataset.test, "the test split")
        if len(part) < LEAST:
            raise DataError(f"tsne: the test split has {len(part)} labelled images, but a map needs {LEAST}")
        order = torch.randperm(len(part), generator=generator_of(trial, "tsne"))
        rows = order[: self.options.points].sort().values
        labels = part.labels.cpu()[rows].numpy()
        points = shared.read(part, self.options.layer, self.options.pool_px).cpu()[rows].numpy()
        coordinates = map_points(points, self.options.perplexity, seed_of(trial, "tsne"))
        nearest = NearestNeighbors(n_neighbors=1, n_jobs=1).fit(coordinates)
        predictions = labels[nearest.kneighbors(return_distance=False)[:, 0]]
        layer = self.options.layer or list(measured.model.layer_channels)[-1]
        about: dict[str, Any] = {"classes": list(dataset.classes), "layer": layer, "of": len(part)}
        return Evaluation(
            {"accuracy": 100.0 * float(np.mean(predictions == labels))},
            {"labels": labels, "predictions": predictions, "rows": rows.numpy(), "coordinates": coordinates},
            files={MAP: (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode()},
        )
