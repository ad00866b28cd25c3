"""What protocols read of a frozen encoder or network: its answers and its maps, in one pass over the images."""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.images import Images, in_slices
from tessera.data.normalization import Normalization
from tessera.data.store import Split
from tessera.errors import DivergedError, StudyError
from tessera.models.encoders.base import LayeredNetwork
from tessera.protocols.labels import with_labels
from tessera.registry import suggest
from tessera.training.compute import Compute

Read = tuple[str | None, int]  # a layer, None for the last; and the height and width to which its map is pooled


class Features:
    """What protocols read of a frozen encoder.

    Layers that are pooled to one pixel are small: the first that asks for one has all of them extracted in the same
    pass. Of larger ones only what was read last is kept.

    Args:
        normalization: Of the images that the encoder was trained with.
        expected: What will be read, as far as it is known.
    """

    def __init__(
        self,
        encoder: LayeredNetwork,
        normalization: Normalization,
        compute: Compute,
        expected: Iterable[Read] = (),
    ) -> None:
        self.encoder, self.normalization, self.compute = encoder, normalization, compute
        self.expected = tuple(dict.fromkeys(read for read in expected if read[1] == 1))
        self._labeled = list[tuple[Split, Split]]()  # a split, and its images that have a label
        self._small = dict[tuple[int, Read], Tensor]()
        self._large = dict[tuple[int, Read], Tensor]()

    def labeled(self, split: Split, what: str) -> Split:
        """The images of a split whose label is known: those that `read` reads.

        Raises:
            DataError: If there are none; `what` names the split.
        """
        for known, part in self._labeled:
            if known is split:
                return part
        part = with_labels(split, what)
        self._labeled.append((split, part))
        return part

    def read(self, part: Split, layer: str | None = None, pool_px: int = 1) -> Tensor:
        """Features of every image, to be left as they are: another protocol reads them too.

        Args:
            part: What `labeled` gave.

        Shape:
            returns: (N, C * pool_px * pool_px) float32, on the device.

        Raises:
            StudyError: If the encoder has no such layer, or its map is smaller than `pool_px`.
        """
        # The same images under another label column have the same features.
        number = next(index for index, (_, known) in enumerate(self._labeled) if known.images is part.images)
        wanted, kept = (layer, pool_px), self._small if pool_px == 1 else self._large
        if (number, wanted) not in kept:
            reads = [wanted]
            if wanted in self.expected:
                there = self.encoder.layer_channels.keys() | self.encoder.inner_channels.keys()
                # A layer that is not there is told to the protocol that asks for it, not to this one.
                reads = [read for read in self.expected if read == wanted or read[0] is None or read[0] in there]
            if pool_px > 1 and any(read != wanted for _, read in kept):
                kept.clear()
            found = extract_layers(self.encoder, part.images, self.normalization, self.compute, reads)
            kept.update({(number, read): found[index] for index, read in enumerate(reads)})
        return kept[number, wanted]


def predict(
    model: nn.Module, images: Images, normalization: Normalization, compute: Compute, batch_size: int | None = None
) -> Tensor:
    """The model's output for every image, in eval mode.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, …) float32, on the device.
    """
    outputs = _in_batches(model, lambda inputs: (model(inputs).float(),), images, normalization, compute, batch_size)
    return torch.cat([output for (output,) in outputs])


def extract_features(
    encoder: LayeredNetwork,
    images: Images,
    normalization: Normalization,
    compute: Compute,
    layer: str | None = None,
    pool_px: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """The features that `extract_layers` gives, of one layer alone."""
    (features,) = extract_layers(encoder, images, normalization, compute, [(layer, pool_px)], batch_size)
    return features


def extract_layers(
    encoder: LayeredNetwork,
    images: Images,
    normalization: Normalization,
    compute: Compute,
    reads: Sequence[Read],
    batch_size: int | None = None,
) -> list[Tensor]:
    """Features of every image, of several layers in one pass: a layer's map, average-pooled and flattened.

    Args:
        reads: Names of layers, None for the last; and height and width to which the map is pooled, at most its own.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, C * pool_px * pool_px) float32, on the device, for each of `reads`.

    Raises:
        StudyError: If the encoder has no such layer, or its map is smaller than `pool_px`.
    """
    last, known = list(encoder.layer_channels)[-1], [*encoder.layer_channels, *encoder.inner_channels]
    named = [(last if layer is None else layer, pool_px) for layer, pool_px in reads]
    for name, _ in named:
        if name not in known:
            raise StudyError(f"protocol: the encoder has no layer '{name}'. {suggest(name, known)}")

    def forward(inputs: Tensor) -> tuple[Tensor, ...]:
        maps = encoder.maps(inputs, dict.fromkeys(name for name, _ in named))
        return tuple(_pooled(maps[name], name, pool_px) for name, pool_px in named)

    batches = _in_batches(encoder, forward, images, normalization, compute, batch_size)
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def _pooled(features: Tensor, name: str, pool_px: int) -> Tensor:
    if min(features.shape[-2:]) < pool_px:
        size = " x ".join(str(pixels) for pixels in features.shape[-2:])
        raise StudyError(f"protocol: `pool_px` is {pool_px}, but layer '{name}' has a map of {size} px: lower it")
    # Pooled in float32: bfloat16 would round a mean that thousands of pixels made precise.
    return F.adaptive_avg_pool2d(features.float(), pool_px).flatten(1)


def _in_batches(
    model: nn.Module,
    forward: Callable[[Tensor], tuple[Tensor, ...]],
    images: Images,
    normalization: Normalization,
    compute: Compute,
    batch_size: int | None,
) -> list[tuple[Tensor, ...]]:
    # On a processor the maps of a small batch stay in its caches, which a third of the time depends on.
    batch_size = batch_size or (64 if compute.device.type == "cpu" else 500)
    compute.place(model).eval()
    normalize = normalization.of_images(compute.device)
    with torch.no_grad(), compute.autocast():
        batches = [forward(normalize(batch)) for batch in in_slices(images, batch_size)]
    # What is no number is neither near nor likely, and would pass for a figure at chance.
    if batches and not torch.stack([part.isfinite().all() for parts in batches for part in parts]).all():
        raise DivergedError("what is measured gives answers that are not finite: its training diverged.")
    return batches
