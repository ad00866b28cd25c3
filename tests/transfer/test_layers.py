"""Which layers are compared, and at which size."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tessera.errors import StudyError
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options, ResNet50Options, WideResNetOptions
from tessera.models.encoders.torchvision_resnet import ResNet50
from tessera.models.encoders.wide_resnet import WideResNet
from tessera.models.networks.options import ReducedAlexNetOptions
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.transfer.layers import Pair, average_to, channels_of, match_layers, stage_ends, to_one_size


@pytest.fixture
def student() -> ReducedAlexNet:
    return ReducedAlexNet(ReducedAlexNetOptions(width="quarter", hidden=8), num_classes=2, image_size=16)


def test_stages_end_where_the_pairs_across_stages_say(student: ReducedAlexNet) -> None:
    with torch.device("meta"):
        large = ResNet50(ResNet50Options())
    assert stage_ends(ResNet8(ResNet8Options())) == ["stage1", "stage2", "stage3"]  # the stem is no stage
    wide = WideResNet(WideResNetOptions(depth=10, width=1))
    assert stage_ends(wide) == ["stage1", "stage2", "stage3.sum"]  # sums, as in the code that losses of maps come from
    assert stage_ends(large) == ["layer1", "layer2", "layer3", "layer4"]
    assert stage_ends(student) == ["pool1", "pool2", "conv4", "conv5"]


def test_stages_are_matched_from_the_last_one_backwards(student: ReducedAlexNet) -> None:
    teacher = ResNet8(ResNet8Options())
    stages = [Pair("pool2", "stage1"), Pair("conv4", "stage2"), Pair("conv5", "stage3")]
    assert match_layers("stages", student, teacher, "attention") == stages
    assert match_layers("last", student, teacher, "attention") == stages[-1:]
    assert match_layers("middle", student, teacher, "attention") == stages[1:2]
    with torch.device("meta"):
        large = ResNet50(ResNet50Options())
    assert match_layers("stages", teacher, large, "attention")[0] == ("stage1", "layer2")
    assert match_layers("middle", large, large, "attention") == [("layer2", "layer2")]  # of four, the earlier one


def test_pairs_may_be_named_inner_layers_included(student: ReducedAlexNet) -> None:
    teacher = ResNet8(ResNet8Options())
    assert match_layers([("conv3", "stem"), ("pool1", "stage3.first")], student, teacher, "nst") == [
        ("conv3", "stem"), ("pool1", "stage3.first"),
    ]  # fmt: skip
    assert [channels_of(student, name) for name in ("conv3", "pool1")] == [96, 24]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("conv9", "stem"), r"`nst`, layers: the target network \(ReducedAlexNet\) has no layer `conv9`. Did you mean"),
        (("conv5", "stage33"), r"the source encoder \(ResNet8\) has no layer `stage33`. Did you mean 'stage3'\?"),
    ],
)
def test_a_layer_that_a_network_lacks_is_refused(pair: tuple[str, str], words: str, student: ReducedAlexNet) -> None:
    with pytest.raises(StudyError, match=words):
        match_layers([pair], student, ResNet8(ResNet8Options()), "nst")


@pytest.mark.parametrize(("before", "after"), [((8, 8), (4, 4)), ((9, 6), (3, 2)), ((5, 7), (2, 3)), ((4, 4), (4, 4))])
def test_averages_are_those_of_adaptive_pooling(before: tuple[int, int], after: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *before, dtype=torch.float64, requires_grad=True)
    found, expected = average_to(maps, after), F.adaptive_avg_pool2d(maps, after)
    assert_close(found, expected)
    upstream = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad(pooled, maps, upstream)[0] for pooled in (found, expected))
    assert_close(ours, theirs)
    assert average_to(maps.bfloat16(), after).dtype == torch.float32


def test_the_larger_map_is_averaged_to_the_smaller_each_side_by_itself() -> None:
    student, teacher = torch.randn(2, 3, 8, 4), torch.randn(2, 5, 6, 7)
    ours, theirs = to_one_size(student, teacher)
    assert_close(ours, F.adaptive_avg_pool2d(student, (6, 4)))
    assert_close(theirs, F.adaptive_avg_pool2d(teacher, (6, 4)))
