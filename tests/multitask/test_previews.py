"""Previews of a training: they change nothing, repeat themselves, and can be read again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from multitask_stand_ins import BRIGHTNESS, tiny_dataset, tiny_source
from sklearn.datasets import load_sample_image

from tessera.data.store import Dataset, Split
from tessera.multitask.learner import Learner
from tessera.multitask.previews import MOST_PX, make_previews, save_previews
from tessera.multitask.source import Source
from tessera.report.pictures.sheets import read_sheet
from tessera.tasks.base import Preview
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")


def learner(trial: int = 0, **settings: Any) -> Learner:
    generator = torch.Generator().manual_seed(0)
    images = (F.interpolate(torch.rand(24, 3, 8, 8, generator=generator), size=32, mode="bilinear") * 255).byte()
    labels = torch.arange(24) % 2
    splits = {"train": Split(images[:8], labels[:8]), "test": Split(images[8:], labels[8:])}
    dataset = Dataset(("a", "b"), 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), splits)
    source = Source(
        dataset="cifar10", encoder="resnet8", tasks=["segmentation", "reconstruction", "classification"],
        epochs=1, iterations=2, batch_size=8, **settings,
    )  # fmt: skip
    return Learner(source, dataset, {}, COMPUTE, trial)


@pytest.mark.parametrize("settings", [{}, {"sharing": "lasso"}, {"regularizer": "divergence", "harmonize": True}])
def test_previews_change_nothing_and_repeat_themselves(settings: dict[str, Any]) -> None:
    one = learner(**settings)
    one.encoder.eval()
    one.heads.eval()
    before = {
        name: tensor.clone() for name, tensor in (*one.encoder.state_dict().items(), *one.heads.state_dict().items())
    }
    random = torch.get_rng_state()
    previews = make_previews(one)
    assert list(previews) == ["segmentation", "reconstruction"]  # a supervised task has nothing to show
    assert {len(pictures) for preview in previews.values() for pictures in preview.views.values()} == {6}
    after = {**one.encoder.state_dict(), **one.heads.state_dict()}
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert torch.equal(torch.get_rng_state(), random)
    modules = [*one.encoder.modules(), *one.heads.modules()]
    assert not any(module.training for module in modules)
    again = make_previews(one)
    for name, preview in previews.items():
        assert all(torch.equal(pictures, again[name].views[view]) for view, pictures in preview.views.items())


def test_every_trial_and_method_shows_the_same_images() -> None:
    shown = [make_previews(one)["reconstruction"].views["shown"] for one in (learner(), learner(1, sharing="lasso"))]
    assert torch.equal(*shown)


def test_saved_previews_are_read_again(tmp_path: Path) -> None:
    smooth = F.interpolate(torch.rand(6, 3, 4, 4), size=(192, 192), mode="bilinear")
    large = (smooth * 255).byte()
    small = (F.interpolate(smooth, size=(32, 96)) * 255).byte()
    save_previews({"my.package:Task": Preview({"shown": large, "made": small}, "A caption.")}, tmp_path)
    (about,) = json.loads((tmp_path / "previews.json").read_text())["tasks"]
    assert (about["task"], about["caption"]) == ("my.package:Task", "A caption.")
    assert [view["name"] for view in about["views"]] == ["shown", "made"]
    first, second = read_sheet(tmp_path / about["file"], [view["strip"] for view in about["views"]])
    assert first.shape == (6, MOST_PX, MOST_PX, 3)
    assert second.shape == (6, 32, 96, 3)
    expected = F.interpolate(large.float(), size=(MOST_PX, MOST_PX), mode="area").movedim(1, -1)
    assert (torch.from_numpy(first.copy()).float() - expected).abs().mean() < 3
    assert (torch.from_numpy(second.copy()).float() - small.movedim(1, -1).float()).abs().mean() < 3


def test_nothing_is_written_where_no_task_has_anything_to_show(tmp_path: Path) -> None:
    one = Learner(tiny_source(tasks=[{"name": BRIGHTNESS}]), tiny_dataset(), {}, COMPUTE, 0)
    save_previews(make_previews(one), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_kept_preview_is_small(tmp_path: Path) -> None:
    photograph = torch.from_numpy(load_sample_image("china.jpg").copy()).movedim(-1, 0)
    pictures = torch.stack([photograph[:, 100:324, left : left + 224] for left in range(0, 400, 70)])
    five = {name: Preview(dict.fromkeys("abc", pictures), "") for name in "vwxyz"}
    save_previews(five, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 400_000
