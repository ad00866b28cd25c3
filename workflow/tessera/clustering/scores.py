"""How well do clusters agree with classes, and how evenly are they filled?"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, confusion_matrix, normalized_mutual_info_score


def match_clusters(labels: np.ndarray, assignments: np.ndarray) -> np.ndarray:
    """The one-to-one map from clusters to classes under which most images are right (Hungarian algorithm).

    Source: Xie, Girshick & Farhadi, ICML 2016, eq. (10).

    Shape:
        labels, assignments: (N,) int64, at least 0.
        returns: (largest assignment + 1,) int64, the class of each cluster; -1 where clusters outnumber classes.
    """
    size = int(max(labels.max(), assignments.max())) + 1
    counts = confusion_matrix(labels, assignments, labels=np.arange(size))[: labels.max() + 1, : assignments.max() + 1]
    classes, clusters = linear_sum_assignment(counts, maximize=True)
    match = np.full(counts.shape[1], -1, dtype=np.int64)
    match[clusters] = classes
    return match


def agreement(labels: np.ndarray, assignments: np.ndarray) -> dict[str, float]:
    """Accuracy under the best match, normalised mutual information, adjusted Rand index; all in percent.

    The information is divided by the arithmetic mean of the two entropies: 2 I(Y; C) / (H(Y) + H(C)).

    Shape:
        labels, assignments: (N,) int64, at least 0.
    """
    predictions = match_clusters(labels, assignments)[assignments]
    return {
        "accuracy": 100.0 * float(np.mean(predictions == labels)),
        "nmi": 100.0 * float(normalized_mutual_info_score(labels, assignments, average_method="arithmetic")),
        "ari": 100.0 * float(adjusted_rand_score(labels, assignments)),
    }


def size_entropy(assignments: np.ndarray, clusters: int) -> float:
    """Entropy of the clusters' sizes over its largest value: 1 where all are equal, 0 where one holds everything.

    >>> size_entropy(np.array([0, 0, 1, 1]), 4)
    0.5
    """
    share = np.bincount(assignments, minlength=clusters) / len(assignments)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum() / np.log(clusters)) + 0.0
