import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.transfer.alignment import ALIGNMENTS, Moments, group_channels, principal_axes


def moments(*maps: Tensor) -> Moments:
    found = Moments(maps[0].shape[1])
    for batch in maps:
        found.add(batch)
    return found


def samples(maps: Tensor) -> np.ndarray:
    return np.asarray(maps.permute(0, 2, 3, 1).flatten(0, 2).double())


@pytest.fixture
def maps() -> Tensor:
    """Six channels of unlike size, some of them alike; not negative, not centred."""
    base = torch.randn(10, 3, 6, 6)
    mixed = torch.cat([base, base + 0.3 * torch.randn(10, 3, 6, 6)], dim=1)
    return (mixed * torch.tensor([1.0, 2.0, 3.0, 0.5, 1.5, 2.5]).view(6, 1, 1) + 1).relu()


def test_moments_do_not_depend_on_the_batches(maps: Tensor) -> None:
    whole, parts = moments(maps), moments(maps[:3], maps[3:])
    assert_close(whole.mean, parts.mean, rtol=1e-5, atol=1e-6)
    assert_close(whole.second, parts.second, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.covariance, np.cov(samples(maps).T, bias=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole.correlation, np.corrcoef(samples(maps).T), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [1, 4, 6])
def test_axes_are_those_of_scikit_learn(maps: Tensor, width: int) -> None:
    expected = PCA(width).fit(samples(maps)).components_
    expected *= np.sign(expected[np.arange(width), np.abs(expected).argmax(axis=1)])[:, None]
    np.testing.assert_allclose(principal_axes(moments(maps), width), expected, atol=1e-4)


def test_a_channel_that_never_changes_is_like_no_other(maps: Tensor) -> None:
    maps[:, 2] = 0.7
    correlation = moments(maps).correlation
    assert correlation[2].tolist() == [0, 0, 1, 0, 0, 0]


def test_groups_are_the_channels_that_are_alike() -> None:
    base = torch.randn(20, 2, 5, 5)
    maps = torch.cat([base, base * 2 + 0.01 * torch.randn(20, 2, 5, 5), -base[:, :1]], dim=1)  # 0~2, 1~3, 4 alone
    expected = torch.tensor([[0.5, 0, 0.5, 0, 0], [0, 0.5, 0, 0.5, 0], [0, 0, 0, 0, 1]], dtype=torch.float64)
    assert_close(group_channels(moments(maps), 3), expected)


def test_as_many_groups_as_channels_leave_them_alone(maps: Tensor) -> None:
    assert_close(group_channels(moments(maps), 6), torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize("align", sorted(ALIGNMENTS))
@pytest.mark.parametrize("student_channels", [4, 6, 9])
def test_both_sides_come_to_one_width_and_the_teacher_to_unit_size(
    align: str, student_channels: int, maps: Tensor
) -> None:
    student = torch.randn(10, student_channels, 6, 6)
    alignment = ALIGNMENTS[align](moments(maps), moments(student), 5)
    teacher_side, student_side = alignment.teacher(maps), alignment.student(student)
    width = 6 if align == "student_conv1x1" else min(5, student_channels)
    assert teacher_side.shape == student_side.shape == (10, width, 6, 6)
    assert teacher_side.square().mean().item() == pytest.approx(1.0, rel=1e-3)


def test_only_common_and_conv1x1_train_something(maps: Tensor) -> None:
    trained = {
        name: sorted(key for key, _ in make(moments(maps), moments(maps[:, :4]), 64).named_parameters())
        for name, make in ALIGNMENTS.items()
    }
    assert trained == {"common": ["student.weight"], "student_conv1x1": ["student.weight"], "channel_group": []}


def test_common_projects_maps_that_are_not_centred(maps: Tensor) -> None:
    alignment = ALIGNMENTS["common"](moments(maps), moments(maps[:, :4]), 64)
    projected = torch.einsum("dc,nchw->ndhw", principal_axes(moments(maps), 4).float(), maps)
    assert_close(alignment.teacher(maps), projected / projected.square().mean().sqrt(), rtol=1e-3, atol=1e-4)


def test_grouped_maps_stay_non_negative(maps: Tensor) -> None:
    alignment = ALIGNMENTS["channel_group"](moments(maps), moments(maps[:, :4]), 64)
    assert alignment.teacher(maps).min() >= 0


def test_a_dead_map_stays_finite() -> None:
    dead = torch.zeros(4, 3, 2, 2)
    for make in ALIGNMENTS.values():
        alignment = make(moments(dead), moments(torch.randn(4, 2, 2, 2)), 64)
        assert isinstance(alignment.teacher, nn.Module)
        assert alignment.teacher(dead).isfinite().all()
