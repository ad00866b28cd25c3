"""What of a clustering can be looked at: retrieved images, and a map of the embedding."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from tessera.data.images import concatenate
from tessera.data.store import Dataset
from tessera.data.thumbnails import may_draw, save_sheet, shrink
from tessera.protocols.tsne import map_points
from tessera.training.randomness import generator_of, seed_of

QUERIES, NEAREST = 10, 8
MOST_PX = 96  # of a picture's side
MAPPED = 500  # images: what a picture can show, at half the time
PERPLEXITY = 30.0  # scikit-learn's own


def choose_queries(labels: np.ndarray, trial: int) -> np.ndarray:
    """One image a class, of at most ten classes: drawn by the trial's seed, whatever the encoder makes of them.

    So every method of a trial is asked for the same images.

    Shape:
        labels: (N,) int64.
        returns: (Q,) int64, rows of `labels`, in the order of their classes.
    """
    order = torch.randperm(len(labels), generator=generator_of(trial, "clustering", "queries")).numpy()
    _, places = np.unique(labels[order], return_index=True)  # where each class comes first in this order
    kept = np.sort(np.argsort(places)[:QUERIES])
    return order[places[kept]]


def save_retrieval(arrays: Mapping[str, np.ndarray], dataset: Dataset, trial: int, folder: Path) -> None:
    """Writes `retrieval.json`, and `retrieval.jpg` with a strip for each query: the query, then its nearest images.

    Args:
        arrays: `labels`, `neighbors` and `indices` of a clustering, as `DeepEmbeddedClustering` gives them.
    """
    labels, indices = arrays["labels"], arrays["indices"]
    everything = concatenate([dataset.train.images, dataset.test.images])
    queries, strips = [], []
    for row in choose_queries(labels, trial):
        nearest = arrays["neighbors"][row, :NEAREST]
        shown = torch.from_numpy(indices[np.concatenate([[row], nearest])]).to(everything.device)
        strips.append(shrink(everything[shown].cpu(), MOST_PX))
        queries.append(
            {
                "image": int(indices[row]),
                "label": int(labels[row]),
                "neighbors": indices[nearest].tolist(),
                "neighbor_labels": labels[nearest].tolist(),
            }
        )
    kept = save_sheet(strips, folder / "retrieval.jpg")
    about = {"classes": list(dataset.classes), "queries": queries, "strips": kept}
    (folder / "retrieval.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def embedding_map(points: np.ndarray, trial: int) -> tuple[np.ndarray, np.ndarray]:
    """Two coordinates of some of the points, neighbours near each other (`map_points`).

    Shape:
        points: (N, D) float32, N at least 5.
        returns: rows (M,) int64, at most 500 of the points, drawn by the trial's seed; coordinates (M, 2) float32.
    """
    order = torch.randperm(len(points), generator=generator_of(trial, "clustering", "map")).numpy()
    rows = np.sort(order[:MAPPED])
    return rows, map_points(points[rows], PERPLEXITY, seed_of(trial, "clustering", "map"))


def illustrate(arrays: Mapping[str, np.ndarray], dataset: Dataset, trial: int, folder: Path) -> None:
    """Keeps the pictures of a clustering beside its figures: `retrieval.json`, `retrieval.jpg` and `map.npz`.

    Of images of people there is only the map, which shows points. A protocol of a user's own may give other arrays:
    then there is nothing to show.
    """
    if {"labels", "neighbors", "indices"} <= arrays.keys() and may_draw(dataset, "retrieved images"):
        save_retrieval(arrays, dataset, trial, folder)
    if {"labels", "embedding"} <= arrays.keys() and len(arrays["embedding"]) >= 5:
        rows, coordinates = embedding_map(arrays["embedding"], trial)
        np.savez_compressed(folder / "map.npz", rows=rows, coordinates=coordinates, labels=arrays["labels"][rows])
