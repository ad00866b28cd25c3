"""Features of frozen encoders: batches, layers, pooling, normalisation."""

from collections.abc import Sequence

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.data.normalization import Normalization
from tessera.data.store import Split
from tessera.errors import DataError, StudyError
from tessera.models.encoders.base import Encoder
from tessera.protocols.features import extract_features, predict
from tessera.protocols.labels import percent, with_labels
from tessera.training.compute import Compute, library_threads

CPU = Compute(torch.device("cpu"), "float32")
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
NORMALIZATION = Normalization(MEAN, STD)


class TinyEncoder(Encoder):
    """A convolution and batch normalisation, then a strided convolution."""

    layer_channels = {"low": 4, "high": 5}  # noqa: RUF012
    inner_channels = {"low.inner": 4}  # noqa: RUF012
    stage_pairs: dict[str, Sequence[tuple[str, str]]] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 2, 2)

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        low = self.norm(self.conv1(images)).relu()
        return {"low": low, "high": self.conv2(low)}

    def maps(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:  # type: ignore[override]
        found = {**self.layers(images), "low.inner": self.conv1(images)}
        return {name: found[name] for name in names}


@pytest.fixture
def images() -> Tensor:
    return torch.randint(256, (7, 3, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize(("layer", "size"), [("low", 8), ("high", 4), ("low.inner", 8)])
@pytest.mark.parametrize("pool_px", [1, 2])
def test_features_equal_a_plain_loop(images: Tensor, layer: str, size: int, pool_px: int) -> None:
    encoder = TinyEncoder().eval()
    found = extract_features(encoder, images, NORMALIZATION, CPU, layer, pool_px, batch_size=3)
    cell = size // pool_px
    for image, features in zip(images, found, strict=True):
        pixels = torch.stack([(image[c] / 255 - MEAN[c]) / STD[c] for c in range(3)])
        feature_map = encoder.maps(pixels[None], [layer])[layer][0]
        expected = [
            feature_map[c, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell].mean()
            for c in range(len(feature_map))
            for y in range(pool_px)
            for x in range(pool_px)
        ]
        assert_close(features, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_no_layer_means_the_last(images: Tensor) -> None:
    encoder = TinyEncoder()
    assert_close(
        extract_features(encoder, images, NORMALIZATION, CPU),
        extract_features(encoder, images, NORMALIZATION, CPU, layer="high"),
    )


def test_the_statistics_of_batch_norm_stand_still(images: Tensor) -> None:
    encoder = TinyEncoder().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    whole = predict(encoder, images, NORMALIZATION, CPU)
    single = predict(encoder, images, NORMALIZATION, CPU, batch_size=1)
    assert_close(whole, single, rtol=1e-5, atol=1e-6)
    assert not whole.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_bfloat16_gives_float32_features_near_the_exact_ones(images: Tensor) -> None:
    encoder = TinyEncoder()
    rough = extract_features(encoder, images, NORMALIZATION, Compute(torch.device("cpu"), "bfloat16"))
    assert rough.dtype == torch.float32
    assert_close(rough, extract_features(encoder, images, NORMALIZATION, CPU), rtol=0.05, atol=0.02)


def test_an_unknown_layer_names_the_known_ones(images: Tensor) -> None:
    with pytest.raises(StudyError, match=r"no layer 'lo'\. Did you mean 'low'\? Known: high, low, low\.inner"):
        extract_features(TinyEncoder(), images, NORMALIZATION, CPU, layer="lo")


def test_a_map_smaller_than_the_pool_is_refused(images: Tensor) -> None:
    with pytest.raises(StudyError, match="`pool_px` is 5, but layer 'high' has a map of 4 x 4 px"):
        extract_features(TinyEncoder(), images, NORMALIZATION, CPU, pool_px=5)


def test_images_without_a_label_are_left_out() -> None:
    split = Split(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1), torch.tensor([2, -1, 0, -1]))
    known = with_labels(split, "the test split")
    assert known.images.flatten().tolist() == [0, 2]
    assert known.labels.tolist() == [2, 0]
    with pytest.raises(DataError, match="the test split has no labelled images"):
        with_labels(split.subset(torch.tensor([1, 3])), "the test split")


def test_percent_counts_exactly() -> None:
    assert percent(torch.tensor([True, False, True, True])) == 75.0


def test_libraries_take_no_more_threads_than_torch() -> None:
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    LogisticRegression()  # its BLAS is loaded
    with library_threads():
        assert {pool["num_threads"] for pool in threadpool_info()} == {torch.get_num_threads()}
