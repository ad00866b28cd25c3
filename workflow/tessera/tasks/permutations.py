"""Sets of permutations of nine tiles that are far from each other."""

from functools import lru_cache
from itertools import chain, permutations
from math import factorial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

NUM_TILES = 9


def choose_permutations(
    number: int, rule: Literal["max_min", "max_avg"], generator: torch.Generator, min_distance: int = 1
) -> Tensor:
    """Greedy choice among all 9! permutations by Hamming distance to those chosen before.

    Source: Noroozi & Favaro, ECCV 2016, algorithm 1, arXiv:1603.09246: the largest mean distance (`max_avg`).
    `max_min` takes the largest minimum and, among those, the largest mean, which reaches the same mean with a larger
    minimum. Their code takes the first of equal candidates, in lexicographic order; we draw one.

    Args:
        number: Size of the set, 1 to 9!.
        rule: `max_min` or `max_avg`.
        generator: Draws the first permutation, and one among equals.
        min_distance: Candidates nearer than this to a chosen one are left out, at least 1. Noroozi et al., CVPR 2018,
            arXiv:1805.00385, need 3: where two tiles of nine are unknown, the others still tell the permutation.

    Shape:
        returns: (number, 9) int64; no permutation comes twice.

    Raises:
        ValueError: If there are fewer permutations than `number`, or none is left that is so far from those chosen.
    """
    if not 1 <= number <= factorial(NUM_TILES):
        raise ValueError(f"number must be 1 to {factorial(NUM_TILES)}, but is {number}.")
    candidates = _all_permutations()
    by_position = candidates.T.contiguous()  # (9, 9!): each comparison below runs over contiguous memory
    weight_of_minimum = NUM_TILES * number + 1 if rule == "max_min" else 0  # above any sum of distances
    sums = torch.zeros(len(candidates), dtype=torch.int32)
    minima = torch.full((len(candidates),), NUM_TILES, dtype=torch.uint8)
    chosen = [_draw(len(candidates), generator)]
    while len(chosen) < number:
        last = by_position[:, chosen[-1]].tolist()
        # Running sums and minima: the distances to all earlier ones are never computed again.
        distances = torch.zeros(len(candidates), dtype=torch.uint8)
        for position, tile in enumerate(last):
            distances += by_position[position] != tile
        sums += distances
        torch.minimum(minima, distances, out=minima)
        score = sums + weight_of_minimum * minima.int()
        score[minima < min_distance] = -1  # among them those already chosen
        highest = int(score.max())
        if highest < 0:
            raise ValueError(
                f"only {len(chosen)} of {number} permutations were found that differ in {min_distance} places or more: "
                "ask for fewer."
            )
        best = (score == highest).nonzero().flatten()
        chosen.append(int(best[_draw(len(best), generator)]))
    return candidates[chosen].long()


def hamming_distances(chosen: Tensor) -> Tensor:
    """Number of places in which two permutations differ, for each pair: (P, 9) to (P * (P - 1) / 2,) int64."""
    first, second = torch.triu_indices(len(chosen), len(chosen), offset=1)
    return (chosen[first] != chosen[second]).sum(dim=1)


@lru_cache(maxsize=1)
def _all_permutations() -> Tensor:
    count = factorial(NUM_TILES)
    flat = np.fromiter(chain.from_iterable(permutations(range(NUM_TILES))), dtype=np.uint8, count=count * NUM_TILES)
    return torch.from_numpy(flat.reshape(count, NUM_TILES))


def _draw(number: int, generator: torch.Generator) -> int:
    return int(torch.randint(number, (), generator=generator))
