"""Puzzles with foreign tiles: which are they, whose are they, and how are they coloured?"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tessera.tasks.base import ImageStatistics, TaskBatch
from tessera.tasks.jigsaw_plus import JigsawPlus
from tessera.tasks.options.puzzles import JigsawPlusOptions
from tessera.tasks.permutations import hamming_distances

WHOLE = {"cell_px": 10, "tile_px": 10, "input_px": 10, "channel_shift_px": 0}  # the tiles are the cells
COLORED = {"gray": 0.0, "projection": 0.0}


def make(size: int = 30, **options: Any) -> JigsawPlus:
    chosen = JigsawPlusOptions(**({"permutations": 7} | options))
    prepared = JigsawPlus.prepare(chosen, size, None, torch.Generator())
    return JigsawPlus(chosen, ImageStatistics(size, (0.5,) * 3, (0.2,) * 3), prepared, torch.device("cpu"))


def draw(task: JigsawPlus, images: Tensor, seed: int = 0) -> TaskBatch:
    return task.make_batch(images, {}, torch.Generator().manual_seed(seed))


def noise(number: int, size: int = 30) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(256, (number, 3, size, size), generator=generator, dtype=torch.uint8)


def cells_of(images: Tensor) -> Tensor:
    """The nine cells of 30 px images, flat: (N, 9, 3, 100) float64."""
    cells = images.double().unfold(2, 10, 10).unfold(3, 10, 10)  # (N, 3, 3, 3, 10, 10)
    return cells.permute(0, 2, 3, 1, 4, 5).reshape(len(images), 9, 3, 100)


def normalized(tiles: Tensor) -> Tensor:
    """Jointly over channels and pixels, tile by tile: (…, 3, 100)."""
    flat = tiles.flatten(-2)
    flat = (flat - flat.mean(-1, keepdim=True)) / flat.std(-1, keepdim=True, correction=0)
    return flat.view_as(tiles)


def origins(batch: TaskBatch, images: Tensor) -> list[list[tuple[int, int]]]:
    """Image and cell that each tile of each puzzle shows, by comparing it with every cell of every image."""
    known = normalized(cells_of(images)).flatten(0, 1).flatten(1)  # (9 N, 300)
    tiles = batch.inputs.double().flatten(1)
    distances = torch.cdist(tiles, known)
    assert (distances.min(dim=1).values < 1e-3).all()
    nearest = distances.argmin(dim=1).view(-1, 9).tolist()
    return [[divmod(index, 9) for index in puzzle] for puzzle in nearest]


def test_own_tiles_tell_the_permutation_and_foreign_ones_are_of_one_other_image() -> None:
    task, images = make(**WHOLE, **COLORED), noise(8)
    counts, places, partners, cells = [], set(), set(), set()
    for seed in range(40):
        batch = draw(task, images, seed)
        for host, (label, puzzle) in enumerate(zip(batch.labels.tolist(), origins(batch, images), strict=True)):
            foreign = {place: cell for place, (image, cell) in enumerate(puzzle) if image != host}
            own = {place: cell for place, (image, cell) in enumerate(puzzle) if image == host}
            permutation = task.permutations[label].tolist()
            assert all(permutation[place] == cell for place, cell in own.items())
            # No other permutation of the set agrees with the host's own tiles.
            agree = [all(other[place] == cell for place, cell in own.items()) for other in task.permutations.tolist()]
            assert sum(agree) == 1
            others = {image for image, _ in puzzle} - {host}
            assert len(others) == min(1, len(foreign))
            assert len(set(foreign.values())) == len(foreign)  # different cells of the other image
            counts.append(len(foreign))
            places |= set(foreign)
            cells |= set(foreign.values())
            partners |= {(other - host) % 8 for other in others}
    shares = torch.tensor(counts).bincount(minlength=3) / len(counts)
    assert len(shares) == 3
    assert_close(shares, torch.full((3,), 1 / 3), atol=0.1, rtol=0)
    assert places == cells == set(range(9))
    assert partners == set(range(1, 8))


@pytest.mark.parametrize("most", [0, 1])
def test_no_more_tiles_are_foreign_than_asked_for(most: int) -> None:
    task, images = make(**WHOLE, **COLORED, foreign_tiles=most), noise(20)
    puzzles = origins(draw(task, images), images)
    counts = {sum(image != host for image, _ in puzzle) for host, puzzle in enumerate(puzzles)}
    assert counts == set(range(most + 1))


def test_a_single_image_has_no_other() -> None:
    with pytest.raises(ValueError, match="jigsaw_plus takes foreign tiles from other images of the batch, but it has"):
        draw(make(32), noise(1, 32))
    assert draw(make(32, foreign_tiles=0), noise(1, 32)).inputs.shape == (9, 3, 8, 8)


def color_of(tile: Tensor) -> str:
    red, green, blue = tile.double()
    if max((red - green).abs().max(), (blue - green).abs().max()) < 1e-3:
        return "gray"
    return "projected" if (2 * green - red - blue).std() < 1e-3 else "plain"


@pytest.mark.parametrize(("gray", "projection"), [(0.5, 0.5), (1.0, 1.0), (0.0, 1.0), (0.3, 0.0)])
def test_own_and_foreign_tiles_are_colored_separately(gray: float, projection: float) -> None:
    number = 150
    task = make(**WHOLE, gray=gray, projection=projection, foreign_tiles=2)
    images = noise(number)
    batch = draw(task, images, seed=1)
    own, foreign = [], []
    for host, puzzle in enumerate(origins_in_any_color(batch, images)):
        tiles = batch.inputs.view(number, 9, 3, 100)[host]
        for mine, seen in ((True, own), (False, foreign)):
            colors = {color_of(tiles[place]) for place, image in enumerate(puzzle) if (image == host) == mine}
            assert len(colors) <= 1  # all own tiles alike, all foreign tiles alike
            seen.append(next(iter(colors), None))
    expected = {"gray": gray, "projected": (1 - gray) * projection, "plain": (1 - gray) * (1 - projection)}
    for found in (own, [color for color in foreign if color]):
        for color, share in expected.items():
            assert abs(found.count(color) / len(found) - share) < 0.16
    if 0 < gray < 1:
        both = [(a, b) for a, b in zip(own, foreign, strict=True) if b]
        assert 0.1 < sum(a == b for a, b in both) / len(both) < 0.9


def origins_in_any_color(batch: TaskBatch, images: Tensor) -> list[list[int]]:
    """The image of each tile, whatever its colours: each of the three maps is tried on all cells."""
    cells = cells_of(images).flatten(0, 1)
    axis = torch.tensor([-1.0, 2.0, -1.0], dtype=torch.float64)
    projected = cells - axis[:, None] * (cells * axis[:, None]).sum(1, keepdim=True) / 6
    luma = (cells * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None]).sum(1, keepdim=True)
    known = torch.cat([normalized(form).flatten(1) for form in (cells, projected, luma.expand(-1, 3, -1))])
    tiles = batch.inputs.double().flatten(1)
    distances = torch.cdist(tiles, known)
    assert (distances.min(dim=1).values < 1e-3).all()
    return [[int(index) % len(cells) // 9 for index in puzzle] for puzzle in distances.argmin(dim=1).view(-1, 9)]


def test_tiles_are_normalised_jointly_and_flat_ones_are_0() -> None:
    images = noise(6, 32)
    images[:, 1] //= 4  # channels of different spread keep it
    images[0] = 77
    tiles = draw(make(32, foreign_tiles=0, **COLORED), images).inputs
    deviation, mean = torch.std_mean(tiles, dim=(1, 2, 3), correction=0)
    assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    assert_close(deviation[9:], torch.ones_like(deviation[9:]), atol=1e-5, rtol=0)
    assert (tiles[:9].abs() < 0.01).all()
    spread = tiles[9:].std(dim=(2, 3))
    assert (spread[:, 1] < 0.5 * spread[:, 0]).all()


def test_channels_are_cut_apart() -> None:
    images = noise(4, 32)
    images[:, 1:] = images[:, :1]
    tiles = draw(make(32, channel_shift_px=2, **COLORED), images).inputs
    assert (tiles - tiles[:, :1]).abs().amax(dim=(1, 2, 3)).gt(0.1).float().mean() > 0.8
    still = draw(make(32, channel_shift_px=0, **COLORED), images).inputs
    assert_close(still, still[:, :1].expand_as(still))


def test_the_set_has_701_permutations_at_every_size() -> None:
    options = JigsawPlusOptions()
    assert {options.at(size).permutations for size in (32, 64, 96, 224, 256)} == {701}
    assert options.label_settings(64) == {
        "name": "jigsaw_plus",
        "permutations": 701,
        "rule": "max_avg",
        "permutation_seed": 0,
    }
    for rule in ("max_avg", "max_min"):
        made = JigsawPlus.prepare(JigsawPlusOptions(permutations=40, rule=rule), 0, None, torch.Generator())
        assert hamming_distances(made["permutations"]).min() >= 3
