"""What the size of the images decides where a study leaves it open."""

from typing import Any

import pytest

from tessera.tasks import PARTS
from tessera.tasks.options.base import TaskOptions
from tessera.tasks.options.maps import ColorizationOptions
from tessera.tasks.options.puzzles import JigsawOptions

SIZES = (32, 64, 96, 224, 256)


def options_of(name: str, **given: Any) -> TaskOptions:
    chosen = PARTS[name].options(name=name, **given)
    assert isinstance(chosen, TaskOptions)
    return chosen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PARTS)
def test_every_null_is_filled_and_what_is_given_stays(name: str, size: int) -> None:
    chosen = options_of(name)
    chosen.check_image_size(size)
    full = chosen.at(size)
    # Of labels of pixels a null means what there is: all of the image, as many channels as the map has.
    assert chosen.reads is not None or None not in full.model_dump().values()
    assert full.at(32) == full
    for key, value in chosen.model_dump().items():
        assert value is None or getattr(full, key) == value


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [
        ("jigsaw", {"permutations": 100, "tile_hidden": 128, "hidden": 512, "dropout": 0.0},
         {"permutations": 1000, "tile_hidden": 1024, "hidden": 4096, "dropout": 0.5}),
        ("jigsaw_plus", {"permutations": 701, "tile_hidden": 128, "hidden": 512, "dropout": 0.0},
         {"permutations": 701, "tile_hidden": 1024, "hidden": 4096, "dropout": 0.5}),
        ("rwc", {"patch_hidden": 128, "hidden": (512,), "dropout": 0.0},
         {"patch_hidden": 1024, "hidden": (1024, 1024), "dropout": 0.5}),
        ("colorization", {"hidden": 128}, {"hidden": 256}),
        ("segmentation", {"hidden": 128}, {"hidden": 256}),
        ("reconstruction", {"hidden": 128}, {"hidden": 256}),
        ("simclr", {"hidden": (512,), "temperature": 0.5, "color": 0.5, "blur": 0.0},
         {"hidden": (2048,), "temperature": 0.1, "color": 1.0, "blur": 0.5}),
        ("classification", {"hidden": (512, 256), "dropout": 0.0}, {"hidden": (512, 256), "dropout": 0.0}),
    ],
)  # fmt: skip
def test_heads_are_as_wide_as_the_papers_from_224_px_on(
    name: str, small: dict[str, Any], large: dict[str, Any]
) -> None:
    for size in SIZES:
        full = options_of(name).at(size)
        expected = large if size >= 224 else small
        assert {key: getattr(full, key) for key in expected} == expected


def test_a_puzzle_without_a_preset_needs_cell_and_tile() -> None:
    with pytest.raises(ValueError, match="jigsaw has presets for images of 32, 64, 96, 224, 256 px, but these have 48"):
        JigsawOptions().check_image_size(48)
    full = JigsawOptions(cell_px=16, tile_px=12).at(48)
    assert (full.permutations, full.input_px, full.channel_shift_px, full.hidden) == (100, 12, 0, 512)
    with pytest.raises(ValueError, match="colorization has presets for images of 32, 64, 96, 224, 256 px"):
        ColorizationOptions().check_image_size(48)
    with pytest.raises(
        ValueError, match=r"jigsaw_plus: three cells of 11 px do not fit images of 32 px: lower cell_px"
    ):
        options_of("jigsaw_plus", cell_px=11).check_image_size(32)
