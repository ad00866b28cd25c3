"""Pins what `generate_pretext_labels` makes: a changed permutation set or colour prior must not keep its key."""

import numpy as np
import pins
import torch
from scipy.special import entr

from tessera.data.store import Dataset, Split
from tessera.jobs import GeneratePretextLabels
from tessera.tasks.colorization import Colorization
from tessera.tasks.jigsaw import Jigsaw
from tessera.tasks.jigsaw_plus import JigsawPlus
from tessera.tasks.options.maps import ColorizationOptions
from tessera.tasks.options.puzzles import JigsawOptions, JigsawPlusOptions
from tessera.training.randomness import generator_of

PERMUTATIONS = 64471
PERMUTATIONS_PLUS = 64401
PRIOR: dict[str, float] = {
    "sum": 1,
    "entropy": 5.231285049,
    "largest": 0.07834804976,
    "counts": 15446.84828,
    "prior": 1.523302642,
    "gray_rmse": 106.7490172,
}


def test_permutations_are_pinned() -> None:
    assert GeneratePretextLabels.version == 1
    made = Jigsaw.prepare(JigsawOptions(permutations=20).at(32), 32, None, generator_of(0, "labels"))
    weights = torch.arange(180).view(20, 9)
    assert int((made["permutations"] * weights).sum()) == PERMUTATIONS, "bump GeneratePretextLabels.version"


def test_permutations_of_jigsaw_plus_are_pinned() -> None:
    assert GeneratePretextLabels.version == 1
    made = JigsawPlus.prepare(JigsawPlusOptions(permutations=20).at(32), 32, None, generator_of(0, "labels"))
    weights = torch.arange(180).view(20, 9)
    assert int((made["permutations"] * weights).sum()) == PERMUTATIONS_PLUS, "bump GeneratePretextLabels.version"


def test_the_color_prior_is_pinned() -> None:
    """Other processors, libraries and threads changed these numbers by at most 3e-16 of them."""
    assert GeneratePretextLabels.version == 1
    draw = np.random.default_rng(0)
    pixels = torch.from_numpy(draw.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8))
    train = Split(pixels, torch.zeros(60, dtype=torch.int64))
    dataset = Dataset(("a",), 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": train, "test": train})
    made = Colorization.prepare(ColorizationOptions(prior_images=40), 32, dataset, generator_of(0, "labels"))
    prior = made["prior"].numpy()
    found = {"sum": prior.sum(), "entropy": entr(prior).sum(), "largest": prior.max(), **pins.projections(made)}
    pins.compare(found, PRIOR, "GeneratePretextLabels")
