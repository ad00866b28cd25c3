"""Pins what `generate_pretext_labels` makes: a changed permutation set or colour prior must not keep its key."""

from pathlib import Path

import numpy as np
import torch

from tessera.data.datasets import digits_m
from tessera.data.datasets.options import DigitsMOptions
from tessera.data.store import load_dataset, save_dataset
from tessera.study.jobs import GeneratePretextLabels
from tessera.tasks.colorization import Colorization
from tessera.tasks.jigsaw import Jigsaw
from tessera.tasks.jigsaw_plus import JigsawPlus
from tessera.tasks.options import ColorizationOptions, JigsawOptions, JigsawPlusOptions
from tessera.training import generator_of

CHANGED = "results of generate_pretext_labels changed: bump GeneratePretextLabels.version, then pin the new ones"
PERMUTATIONS = 64471
PERMUTATIONS_PLUS = 64401
PRIOR = [1.0, 3.365161, 0.201229]  # sum, entropy, largest share


def test_permutations_are_pinned() -> None:
    assert GeneratePretextLabels.version == 1
    made = Jigsaw.prepare(JigsawOptions(permutations=20).at(32), 32, None, generator_of(0, "labels"))
    weights = torch.arange(180).view(20, 9)
    assert int((made["permutations"] * weights).sum()) == PERMUTATIONS, CHANGED


def test_permutations_of_jigsaw_plus_are_pinned() -> None:
    made = JigsawPlus.prepare(JigsawPlusOptions(permutations=20).at(32), 32, None, generator_of(0, "labels"))
    weights = torch.arange(180).view(20, 9)
    assert int((made["permutations"] * weights).sum()) == PERMUTATIONS_PLUS, CHANGED


def test_the_color_prior_is_pinned(tmp_path: Path) -> None:
    raw = digits_m.DigitsM(DigitsMOptions(copies=1)).read(tmp_path)
    save_dataset(tmp_path, raw.images, raw.labels, raw.splits, raw.classes)
    dataset = load_dataset(tmp_path, torch.device("cpu"))
    made = Colorization.prepare(ColorizationOptions(prior_images=500), 32, dataset, generator_of(0, "labels"))
    prior = made["prior"].double().numpy()
    entropy = -(prior[prior > 0] * np.log(prior[prior > 0])).sum()
    np.testing.assert_allclose([prior.sum(), entropy, prior.max()], PRIOR, rtol=1e-3, err_msg=CHANGED)
