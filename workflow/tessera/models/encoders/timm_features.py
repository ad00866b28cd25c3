"""Convolutional networks of timm (an optional package), by the feature maps that it names."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import timm
import torch
from timm.models import FeatureDictNet, FeatureHookNet
from torch import Tensor, nn

from tessera.models.encoders.base import AttentionPoint, Channels, Encoder, Kept, Stage
from tessera.models.encoders.halving import guard_halving
from tessera.models.encoders.options import TimmOptions


class TimmEncoder(Encoder):
    """A network of timm without its classifier: the maps are those of its `features_only` interface, the last is z.

    A map is called as timm calls the module that makes it, with `_` for each dot: `layer1`, or `stages_0`. Weights
    start as timm has them, and are named as timm's under `network.`; no file is ever fetched. Where timm's network is a
    chain of modules, its stages can be walked, each from one map to the next; others are one stage. There are no pairs
    `within_stage`, since timm names no maps inside a stage.

    Source: Wightman, PyTorch Image Models, 2019; each network's own paper is named there.

    Args:
        options: What the study set.

    Shape:
        images: (N, 3, H, W).
        returns: maps (N, C, h, w) of falling size; most networks halve the images five times.
    """

    def __init__(self, options: TimmOptions) -> None:
        super().__init__()
        self.options = options
        self.network = build(options.model)
        for module in self.network.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # a map stays as it was made
        guard_halving(self.network)
        info = self.network.feature_info
        names = [str(name).replace(".", "_") for name in info.module_name()]
        self.layer_channels = dict(zip(names, info.channels(), strict=True))

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.layer_channels, self.network(images), strict=True))

    def stages(self) -> list[tuple[str, Stage]]:
        chain = self.network
        if not isinstance(chain, FeatureDictNet) or isinstance(chain, FeatureHookNet):
            return super().stages()
        stages: list[list[nn.Module]] = [[]]
        for name, module in chain.items():
            stages[-1].append(module)
            if name in chain.return_layers:
                stages.append([])
        return [
            (name, partial(_in_turn, modules)) for name, modules in zip(self.layer_channels, stages[:-1], strict=True)
        ]

    @property
    def attention_points(self) -> tuple[AttentionPoint, ...]:
        return tuple(AttentionPoint(name, name) for name in self.layer_channels)

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # Of the maps the last four, since target networks have three pairs.
        last = list(self.layer_channels)[-4:]
        return {"across_stage": tuple(itertools.pairwise(last))}

    @property
    def usual_normalization(self) -> tuple[Channels, Channels] | None:  # type: ignore[override]
        about = timm.models.get_pretrained_cfg(self.options.model)
        if about is None or not (len(about.mean) == len(about.std) == 3):
            return None
        (r, g, b), (s, t, u) = about.mean, about.std
        return (r, g, b), (s, t, u)

    def names_in_files(self, name: str) -> tuple[str, ...]:
        # timm's interface calls `stages.0` `stages_0`, where it takes a network apart, or puts `model.` before all.
        theirs = name.removeprefix("network.")
        first, dot, rest = theirs.partition(".")
        apart = [
            f"{first[:place]}.{first[place + 1 :]}{dot}{rest}" for place, letter in enumerate(first) if letter == "_"
        ]
        return (theirs, *apart, theirs.removeprefix("model."), name)

    def is_behind(self, name: str) -> bool:
        return name in self._names_of_whole

    @cached_property
    def _names_of_whole(self) -> frozenset[str]:
        with torch.device("meta"):
            return frozenset(timm.create_model(self.options.model, pretrained=False).state_dict())

    @cached_property
    def fusion_convolutions(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        # As in the CIFAR ResNets: the convolutions before each change of resolution, which are the last before a map.
        last = tuple(dict.fromkeys(self._last_convolutions()))
        return {"conv_before_pool": last, "stage_last": last}

    def _last_convolutions(self) -> Iterator[str]:
        """Of each map, the convolution that ends the longest chain of them on the way to it; asked of autograd."""
        names = {id(module.weight): name for name, module in self.named_modules() if isinstance(module, nn.Conv2d)}
        training, device = self.training, next(self.parameters()).device
        self.eval()
        with torch.enable_grad():
            side = max(64, self.options.smallest_px)
            maps = self.layers(torch.zeros(1, 3, side, side, device=device))
        self.train(training)
        for found in maps.values():
            if (last := _end_of_longest_chain(found.grad_fn, names)) is not None:
                yield last


def _in_turn(modules: Sequence[nn.Module], images: Tensor, kept: Kept) -> Tensor:
    last: Any = images
    for module in modules:
        last = module(last)
    found: Tensor = last[0] if isinstance(last, tuple | list) else last
    return found


def _end_of_longest_chain(root: Any, names: Mapping[int, str]) -> str | None:
    """The name of the convolution at the end of the longest chain of named ones that a graph leads through."""
    chains: dict[Any, tuple[int, str | None]] = {}
    waiting = [root]
    while waiting:  # no recursion: the graph of a deep network is deeper than Python's stack
        node = waiting[-1]
        before = [other for other, _ in node.next_functions if other is not None]
        if unknown := [other for other in before if other not in chains]:
            waiting += unknown
            continue
        waiting.pop()
        length, end = max((chains[other] for other in before), key=lambda chain: chain[0], default=(0, None))
        if node.name().startswith("ConvolutionBackward") and (name := _weight_of(node, names)) is not None:
            length, end = length + 1, name
        chains[node] = length, end
    return chains[root][1]


def _weight_of(convolution: Any, names: Mapping[int, str]) -> str | None:
    """The name of a convolution whose weight a node of the graph reads, whatever was made of the weight before."""
    waiting = [convolution.next_functions[1][0]]
    while waiting:
        node = waiting.pop()
        if node is not None:
            if (name := names.get(id(getattr(node, "variable", None)))) is not None:
                return name
            waiting += [other for other, _ in node.next_functions]
    return None


def build(model: str) -> Any:
    """timm's network that returns a list of feature maps, with fresh weights.

    Raises:
        Exception: Whatever timm raises of a model that it lacks, or that has no feature maps.
    """
    return timm.create_model(model, pretrained=False, features_only=True)


SIZES = (8, 16, 32, 64, 128, 224, 256)  # px, of which the smallest that passes is what is said of a model


def examine(model: str) -> tuple[str | None, int, bool]:
    """What a plan must know of a model that timm has; computes nothing and draws no weights.

    Returns:
        Why it cannot be an encoder, or None; the smallest side of an image that it takes, px, of `SIZES`; and whether
        it has batch norms.
    """
    try:
        network = _without_values(model)
    except Exception as error:
        return f"has no feature maps in timm {timm.__version__} ({_first_line(error)})", 0, False
    normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    wrong = ""
    for px in SIZES:
        wrong = _wrong_maps(network, px, px)
        if not wrong:
            # Of two sizes, since what looks at patches may be made for one alone.
            wrong = _wrong_maps(network, px + 32, px + 32)
            return (f"takes images of {px} x {px} px alone ({wrong})" if wrong else None), px, normed
    return f"makes no feature maps (N, C, H, W) of images of {SIZES[-1]} px or less ({wrong})", 0, normed


def wrong_with(model: str, height: int, width: int) -> str:
    """Why a model makes no feature maps (N, C, H, W) of images of a size, px; empty where it does."""
    return _wrong_maps(_without_values(model), height, width)


def _without_values(model: str) -> Any:
    with torch.device("meta"):
        return build(model).eval()


@torch.no_grad()
def _wrong_maps(network: Any, height: int, width: int) -> str:
    try:
        maps = network(torch.empty(2, 3, height, width, device="meta"))
    except Exception as error:
        return _first_line(error)
    for found, channels in zip(maps, network.feature_info.channels(), strict=True):
        if not isinstance(found, Tensor) or found.dim() != 4 or found.shape[1] != channels:
            return f"one is of shape {tuple(getattr(found, 'shape', ()))}, where {channels} channels should come second"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".")
