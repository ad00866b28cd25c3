"""What every task promises, whatever it predicts."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from label_maps import MAP_COLUMNS, label_maps
from tessera import registry
from tessera.data.labels import Column
from tessera.data.store import Dataset, Split
from tessera.data.views import to_unit
from tessera.tasks import PARTS
from tessera.tasks.base import ImageStatistics, Task, TaskBatch, plain_view, random_view, seen_labels
from tessera.tasks.labelled import LabelledTask
from tessera.tasks.options.base import Views, view_px

NUM_CLASSES = 4
OPTIONS: dict[str, dict[str, Any]] = {
    "jigsaw": {"permutations": 6},
    "jigsaw_plus": {"permutations": 6},
    "segmentation": {"segments": 5, "radius": 3.0},
}
INPUTS = {"jigsaw": 9, "jigsaw_plus": 9, "rwc": 3, "simclr": 2}  # an image


def colorful(number: int, size: int, seed: int = 0) -> Tensor:
    """Smooth images: random colours on a 4 x 4 raster, enlarged."""
    coarse = torch.rand(number, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") * 255).to(torch.uint8)


def dataset(size: int) -> Dataset:
    labels = torch.arange(8) % NUM_CLASSES
    images = colorful(8, size)
    split = Split(images, labels, label_maps(images))
    splits = {"train": split, "test": split}
    return Dataset(tuple("abcd"), size, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), splits, MAP_COLUMNS)


def make_task(name: str, size: int, **options: Any) -> Task:
    part = PARTS[name]
    chosen = part.options(name=name, **(OPTIONS.get(name, {}) | options))
    cls = registry.load("task", name)
    chosen = chosen.at(size)  # type: ignore[attr-defined]
    source = dataset(size) if chosen.labels_from_images else None
    prepared = cls.prepare(chosen, size, source, torch.Generator().manual_seed(0))
    assert bool(prepared) == bool(chosen.label_fields)
    task: Task = cls(chosen, ImageStatistics.of(dataset(size), batch_size=8), prepared, torch.device("cpu"))
    return task


def encoder() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())


def batch_of(task: Task, size: int, seed: int = 1) -> TaskBatch:
    split = dataset(size).train
    return task.make_batch(split.images, task.labels_of(split), torch.Generator().manual_seed(seed))


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors(part)]


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    return type(value)(*(map_tensors(function, part) for part in value))


@pytest.mark.parametrize("size", [32, 64, 96])
@pytest.mark.parametrize("name", PARTS)
def test_a_step_reaches_the_encoder_and_all_of_the_head(name: str, size: int) -> None:
    task, body = make_task(name, size), encoder()
    head = task.build_head(8)
    batch = batch_of(task, size)
    assert batch.inputs.dtype == torch.float32
    assert batch.inputs.shape[:2] == (8 * INPUTS.get(name, 1), 3)
    prediction = head(body(batch.inputs))
    loss = task.loss(prediction, batch.labels)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in [*body.parameters(), *head.parameters()]:
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.ndim < 2 or parameter.grad.abs().sum() > 0  # biases may stand behind units that are off


@pytest.mark.parametrize("name", PARTS)
def test_metrics_are_scalars_without_gradient_and_chance_names_some_of_them(name: str) -> None:
    task = make_task(name, 32)
    batch = batch_of(task, 32)
    metrics = task.metrics(task.build_head(8)(encoder()(batch.inputs)), batch.labels)
    assert metrics
    for value in metrics.values():
        assert value.shape == ()
        assert not value.requires_grad
        assert value.isfinite()
    chance = task.chance()
    assert set(chance) <= {"loss", *metrics}
    assert all(isinstance(value, float) and math.isfinite(value) for value in chance.values())


@pytest.mark.parametrize("name", PARTS)
def test_the_seed_alone_decides_the_batch(name: str) -> None:
    task = make_task(name, 32)
    torch.manual_seed(1)
    first = tensors(tuple(batch_of(task, 32)))
    torch.manual_seed(2)
    same = tensors(tuple(batch_of(task, 32)))
    other = tensors(tuple(batch_of(task, 32, seed=2)))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("name", PARTS)
def test_making_a_batch_leaves_the_images_alone(name: str) -> None:
    split = dataset(32).train
    before, task = split.images.clone(), make_task(name, 32)
    task.make_batch(split.images, task.labels_of(split), torch.Generator())
    assert torch.equal(split.images, before)


@pytest.mark.parametrize("name", PARTS)
def test_prepared_labels_repeat(name: str) -> None:
    first, second = make_task(name, 32).prepared, make_task(name, 32).prepared
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", PARTS)
def test_a_bfloat16_prediction_is_scored_in_float32(name: str) -> None:
    task = make_task(name, 32)
    batch = batch_of(task, 32)
    prediction = task.build_head(8)(encoder()(batch.inputs))
    coarse = map_tensors(lambda tensor: tensor.detach().bfloat16(), prediction)
    loss = task.loss(coarse, batch.labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, task.loss(prediction, batch.labels), rtol=0.02, atol=0.02)
    assert all(value.isfinite() for value in task.metrics(coarse, batch.labels).values())


@pytest.mark.parametrize("name", PARTS)
def test_heads_run_under_autocast(name: str) -> None:
    task = make_task(name, 32)
    batch = batch_of(task, 32)
    head, body = task.build_head(8), encoder()
    with torch.autocast("cpu", torch.bfloat16):
        prediction = head(body(batch.inputs))
    loss = task.loss(prediction, batch.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("name", PARTS)
def test_previews_are_pictures_of_the_same_few_images(name: str, size: int) -> None:
    task = make_task(name, size)
    batch = batch_of(task, size)
    preview = task.preview(batch, task.build_head(8)(encoder()(batch.inputs)), 3)
    assert (preview is None) == (name == "classification")
    if preview is None:
        return
    assert preview.caption.endswith(".")
    assert next(iter(preview.views)) == "shown"
    assert len(preview.views) > 1
    for pictures in preview.views.values():
        assert pictures.shape[:2] == (3, 3)
        assert pictures.dtype == torch.uint8
        assert pictures.device.type == "cpu"


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 3), (7, 7), (16, 16)])
@pytest.mark.parametrize("name", PARTS)
def test_heads_take_a_map_of_any_size(name: str, shape: tuple[int, int]) -> None:
    task = make_task(name, 32)
    batch = batch_of(task, 32)
    features = torch.randn(len(batch.inputs), 5, *shape)
    assert task.loss(task.build_head(5)(features), batch.labels).isfinite()


@pytest.mark.parametrize("name", PARTS)
def test_each_task_can_be_learned_beyond_chance(name: str) -> None:
    """`chance` is what no prediction without a look at the image can beat: training must beat all of it."""
    task = make_task(name, 32)
    body = nn.Sequential(encoder(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
    head = task.build_head(16)
    batch = batch_of(task, 32)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=5e-3)
    first = task.loss(head(body(batch.inputs)), batch.labels).item()
    for _ in range(40):
        loss = task.loss(head(body(batch.inputs)), batch.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    prediction = head(body(batch.inputs))
    final = {"loss": task.loss(prediction, batch.labels), **task.metrics(prediction, batch.labels)}
    assert final["loss"] < 0.75 * first
    for figure, chance in task.chance().items():
        assert final[figure] > 1.5 * chance if "accuracy" in figure else final[figure] < 0.75 * chance, figure


VIEWED = {"rotation": 224, "colorization": 224, "segmentation": 224, "reconstruction": 224, "classification": 224}
VIEWED |= dict.fromkeys(("semantic_segmentation", "depth", "disparity", "normals"), 256)  # each pixel has a label
SEVERAL = {"jigsaw": (9, 64), "jigsaw_plus": (9, 64), "rwc": (3, 96), "simclr": (2, 224)}  # inputs an image, side


@pytest.mark.parametrize("name", PARTS)
def test_a_step_at_256_px(name: str) -> None:
    several = ("rotation", "rwc", "classification", "simclr")  # may have more than one hidden layer
    small = {"hidden": (8,) if name in several else 8}  # the wide heads are slow here
    task = make_task(name, 256, **small)
    images = colorful(2, 256)
    split = Split(images, torch.tensor([0, 1]), label_maps(images))
    batch = task.make_batch(split.images, task.labels_of(split), torch.Generator().manual_seed(1))
    number, side = SEVERAL.get(name, (1, VIEWED.get(name, 0)))
    assert batch.inputs.shape == (2 * number, 3, side, side)
    body = nn.Sequential(encoder(), nn.AvgPool2d(8))  # 7 x 7 from 224 px
    head = task.build_head(8)
    loss = task.loss(head(body(batch.inputs)), batch.labels)
    assert loss.isfinite()
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*body.parameters(), *head.parameters()])


def test_crops_of_256_px_are_parts_of_the_image_in_their_place() -> None:
    images = colorful(3, 256)
    batch = make_task("reconstruction", 256).make_batch(images, {}, torch.Generator().manual_seed(1))
    for image, view in zip(images, (batch.labels * 255).round().byte(), strict=True):
        windows = image.unfold(1, 224, 1).unfold(2, 224, 1)[0]  # (33, 33, 224, 224), one channel
        fits = [(windows == side).all(dim=(2, 3)).any() for side in (view[0], view[0].flip(1))]
        assert any(fits)


@pytest.mark.parametrize("name", PARTS)
def test_a_plain_view_is_what_the_encoder_is_shown(name: str) -> None:
    """So that one batch of views serves all tasks that say so; the others make their inputs themselves."""
    task, split = make_task(name, 32), dataset(32).train
    if not task.options.plain_view:
        with pytest.raises(NotImplementedError, match="makes its inputs itself"):
            task.batch_of(split.images, task.labels_of(split))
        return
    view = random_view(split.images, torch.Generator().manual_seed(1), task.options.views or Views())
    views, labels = view.images(split.images), seen_labels(view, task.labels_of(split), task.statistics.columns)
    batch, made = task.batch_of(views, labels), batch_of(task, 32, seed=1)
    assert torch.equal(batch.inputs, task.normalize(to_unit(views)))
    assert all(torch.equal(a, b) for a, b in zip(tensors(tuple(batch)), tensors(tuple(made)), strict=True))


@pytest.mark.parametrize("size", [32, 256])
def test_plain_views_are_the_middle_of_the_image(size: int) -> None:
    images, view = colorful(2, size), view_px(size)
    first = (size - view) // 2
    shown = plain_view(images, Views()).images(images)
    assert torch.equal(shown, images[:, :, first : first + view, first : first + view])


LABELLED = [name for name, part in PARTS.items() if part.options.reads is not None]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", LABELLED)
def test_a_labelled_task_learns_the_column_that_it_names(name: str) -> None:
    plain, part = dataset(32), PARTS[name].options
    kind = part.reads  # type: ignore[attr-defined]
    maps = {MAP_COLUMNS[column].kind: values for column, values in label_maps(colorful(8, 32, seed=1)).items()}
    other = (plain.train.labels + 1) % 3 if kind == "class" else maps[kind]
    split = replace(plain.train, columns={"other": other})
    columns = {**plain.columns, "other": Column(kind, tuple("wxyz"))}
    data = replace(plain, splits={"train": split, "test": split}, columns=columns)
    still = {} if kind == "class" else {"flip": False}
    first, second = part(name=name), part(name=name, labels="other", **still)
    assert (first.key, second.key) == (name, f"{name}.other")  # type: ignore[attr-defined]
    assert first.drawn_by != second.drawn_by  # type: ignore[attr-defined]
    assert "labels" not in first.model_dump()  # keys of what was there before stay
    task: Task = registry.load("task", name)(second.at(32), ImageStatistics.of(data), {}, torch.device("cpu"))  # type: ignore[attr-defined]
    batch = task.make_batch(split.images, task.labels_of(split), torch.Generator())
    assert torch.equal(batch.labels, other if kind in ("class", "class_map") else other.float())
    outputs = {"class": 4, "class_map": 4, "normal_map": 3}.get(kind, 1)
    assert task.build_head(8)(encoder()(batch.inputs)).shape[:2] == (8, outputs)


def labelled(kind: str, labels: Tensor) -> int:
    """How many images, or pixels, have a label."""
    if kind == "normal_map":
        return int((labels.norm(dim=1) > 0).sum())
    return int((labels != {"class": -1, "class_map": 255}.get(kind, 0)).sum())


@pytest.mark.parametrize("name", LABELLED)
def test_a_meter_gives_the_figures_that_the_options_name(name: str) -> None:
    task = make_task(name, 32)
    assert isinstance(task, LabelledTask)
    batch, meter = batch_of(task, 32), task.meter()
    assert meter.count() == 0
    meter.add(task.build_head(8)(encoder()(batch.inputs)).detach(), batch.labels)
    assert meter.count() == labelled(task.options.reads, batch.labels)
    names = {figure.name for figure in task.options.figures}
    assert meter.figures().keys() == names
    assert task.guessed().keys() <= names
    assert all(isinstance(value, float) for value in task.guessed().values())
