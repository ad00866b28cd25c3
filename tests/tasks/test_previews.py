"""What tasks show of themselves: pictures of what was predicted, and of what is right."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tessera import registry
from tessera.data.store import Dataset, Split
from tessera.models.heads.maps import Rebuilt, Segments
from tessera.tasks import PARTS
from tessera.tasks.arrangements import ARRANGEMENTS
from tessera.tasks.base import ImageStatistics, Task, TaskBatch
from tessera.tasks.color import lab_from_rgb
from tessera.tasks.segmentation import segment_colors

NUMBER = 3
OPTIONS: dict[str, dict[str, Any]] = {
    "jigsaw": {"permutations": 6},
    "jigsaw_plus": {"permutations": 6},
    "segmentation": {"segments": 5, "radius": 3.0},
}
IMAGES = (
    nn.functional.interpolate(
        torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)), size=32, mode="bilinear"
    )
    * 255
).byte()


def make_task(name: str, **options: Any) -> Task:
    chosen: Any = PARTS[name].options(name=name, **(OPTIONS.get(name, {}) | options))
    chosen = chosen.at(32)
    cls = registry.load("task", name)
    split = Split(IMAGES, torch.zeros(8, dtype=torch.long))
    source = Dataset(("a",), 32, (0.5,) * 3, (0.2,) * 3, {"train": split, "test": split})
    prepared = cls.prepare(chosen, 32, source if chosen.labels_from_images else None, torch.Generator().manual_seed(0))
    task: Task = cls(chosen, ImageStatistics.of(source), prepared, torch.device("cpu"))
    return task


def batch_of(task: Task) -> TaskBatch:
    return task.make_batch(IMAGES, {}, torch.Generator().manual_seed(1))


def logits(choices: Tensor, number: int) -> Tensor:
    return 100.0 * nn.functional.one_hot(choices, number)


@pytest.mark.parametrize("name", ["jigsaw", "jigsaw_plus"])
def test_a_puzzle_is_put_back_as_predicted(name: str) -> None:
    """Tiles of one brightness, that of the cell that they show: the solved puzzle is brighter from cell to cell."""
    task: Any = make_task(name)
    labels = torch.tensor([0, 3, 5])
    cells = task.permutations[labels]  # (3, 9)
    side = 8
    tiles = ((cells.flatten() - 4) / 2)[:, None, None, None].expand(-1, 3, side, side)
    batch = TaskBatch(tiles, labels)
    guesses = torch.tensor([0, 3, 2])
    preview = task.preview(batch, logits(guesses, 6), NUMBER)

    def at_cells(pictures: Tensor) -> Tensor:
        places = torch.tensor([0, 1, 2]) * (side + 1) + side // 2
        return pictures[:, 0][:, places][:, :, places].flatten(1)

    levels = (torch.arange(9) - 4) / 10 + 0.5
    solved = (levels * 255).round().byte()
    assert (at_cells(preview.views["right"]) == solved).all()
    put_back = at_cells(preview.views["put back"])
    assert (put_back[:2] == solved).all()
    # Tile i was said to show cell guessed[i], and lies there: pale, unless it does show it.
    for tile, (guessed, right) in enumerate(zip(task.permutations[2].tolist(), cells[2].tolist(), strict=True)):
        bright = int(solved[right])
        expected = bright if guessed == right else 255 - (255 - bright) // 2
        assert put_back[2, guessed] == expected, tile
    assert "2 of 3 puzzles" in preview.caption


def test_colours_are_decoded_over_the_image_s_own_lightness() -> None:
    task: Any = make_task("colorization")
    batch = batch_of(task)
    prediction = logits(batch.labels.bins[:, 0], len(task.centers)).movedim(-1, 1)
    views = task.preview(batch, prediction, NUMBER).views
    gray = views["shown"].int()
    assert (gray.amax(dim=1) - gray.amin(dim=1)).max() <= 1
    predicted, original = (lab_from_rgb(views[name].movedim(1, -1) / 255) for name in ("predicted", "original"))
    inside = (views["original"] > 0).all(dim=1) & (views["original"] < 255).all(dim=1)  # colours that are not clipped
    light = 50 * batch.inputs[:NUMBER, 0] + 50
    assert_close(original[..., 0][inside], light[inside], atol=0.5, rtol=0)
    # A bin is 10 units wide.
    assert (predicted - original)[..., 1:][inside].abs().mean() < 4
    wrong = task.preview(batch, prediction.roll(90, dims=1), NUMBER).views["predicted"]
    assert (wrong.int() - views["original"].int()).abs().float().mean() > 20


def test_segments_have_colours_that_differ_in_gray() -> None:
    task: Any = make_task("segmentation")
    batch = batch_of(task)
    chosen = torch.randint(5, (8, task.grid, task.grid))
    shares = nn.functional.one_hot(chosen, 5).movedim(-1, 1).float()
    views = task.preview(batch, Segments(shares, batch.labels.image), NUMBER).views
    colors = (segment_colors(5) * 255).round().byte()
    assert torch.equal(views["segments"], colors[chosen[:NUMBER]].movedim(-1, 1))
    assert torch.equal(views["rebuilt"], views["original"])
    assert (lab_from_rgb(segment_colors(12))[:, 0].diff() > 3).all()


def test_a_perfect_reconstruction_looks_like_what_was_shown() -> None:
    task = make_task("reconstruction")
    batch = batch_of(task)
    views = task.preview(batch, Rebuilt(batch.labels, torch.zeros(8, 1)), NUMBER).views  # type: ignore[union-attr]
    assert_close(views["rebuilt"], views["shown"], atol=1, rtol=0)
    assert "original" not in views
    noisy = make_task("reconstruction", noise=0.3)
    batch = batch_of(noisy)
    views = noisy.preview(batch, Rebuilt(batch.labels, torch.zeros(8, 1)), NUMBER).views  # type: ignore[union-attr]
    assert torch.equal(views["original"], views["rebuilt"])
    assert not torch.equal(views["original"], views["shown"])


@pytest.mark.parametrize("arrangement", [0, 4, 8, 11, 12, 19])
@pytest.mark.parametrize("turns", range(4))
def test_patches_are_laid_out_and_turned_back(arrangement: int, turns: int) -> None:
    """Patches with a white corner, top left before they are turned; each with a brightness of its own."""
    task = make_task("rwc")
    side = 8
    patches = torch.tensor([0.2, 0.4, 0.6])[:, None, None, None].repeat(1, 3, side, side)
    patches[:, :, : side // 2, : side // 2] = 1.0
    label = torch.tensor([arrangement + len(ARRANGEMENTS) * turns])
    batch = TaskBatch(task.normalize(patches.rot90(turns, dims=(2, 3))), label)
    preview = task.preview(batch, logits(label, 80), 1)
    assert preview is not None
    picture = preview.views["right"][0, 0]
    assert torch.equal(preview.views["laid out"][0, 0], picture)
    layout, cells = ARRANGEMENTS[arrangement]
    found = {}
    for level in (51, 102, 153):
        rows, columns = (picture == level).nonzero().unbind(1)
        found[level] = (int(rows.max()), int(columns.max()))
        top, left = int(rows.max()) - side + 1, int(columns.max()) - side + 1
        assert (picture[top : top + side // 2, left : left + side // 2] == 255).all()  # the corner is top left again
    ends = torch.tensor(list(found.values()))
    steps = (ends - ends.amin(dim=0)).float() / (side + 1)
    expected = torch.tensor(cells)
    assert torch.equal(steps, (expected - expected.amin(dim=0)).float())
    assert layout in (2, 3)
    assert preview.caption == "1 of 1 arrangements and 1 of 1 rotations are right."
