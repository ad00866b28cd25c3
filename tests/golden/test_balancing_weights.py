"""Pinned weights of every balancing that compares gradients by their Gram matrix alone: of one matrix, in float64."""

import pytest
import torch
from pins import compare

from tessera import registry

# Of gradients (1, 0.2, 0), (-0.8, 0.7, 0.1), (0.1, -0.9, 1.5), and losses 0.5, 2, 1.
GRAMIAN = [[1.04, -0.66, -0.08], [-0.66, 1.14, -0.56], [-0.08, -0.56, 3.07]]
LOSSES = [0.5, 2.0, 1.0]
PINNED: dict[str, tuple[float, ...]] = {
    "mgda": (0.42492159981, 0.437896645512, 0.137181754678),
    "mgda normalize=l2": (0.359465614353, 0.39791944476, 0.242614940887),
    "mgda normalize=loss": (0.144522584934, 0.750475257455, 0.105002157611),
    "mgda normalize=loss+": (0.125961099948, 0.690569795731, 0.183469104321),
    "pcgrad": (1.71153846154, 2.11470985155, 1.33061229872),
    "pcgrad combine=mean": (0.570512820513, 0.704903283851, 0.443537432908),
    "cagrad": (0.471225255609, 0.516157185853, 0.266666666667),
    "cagrad c=0.2 rescale=false": (0.391371411245, 0.458517443954, 0.333333333333),
    "imtl": (0.408139603725, 0.431529799283, 0.160330596992),
    "nash_mtl": (1.79988382148, 1.89739182355, 0.800114441983),
    "aligned_mtl": (1.04001938226, 1.0761255889, 0.50825541462),
    "aligned_mtl scale=median": (2.25734288746, 2.33571074304, 1.10315900336),
    "aligned_mtl scale=rmse": (2.31059051002, 2.39080695583, 1.12918101116),
    "fairgrad alpha=2": (2.13463705155, 2.22708289997, 0.821296610283),
    "upgrad": (0.754783262198, 0.832307972576, 0.447990305124),
    "dual_proj": (0.333333333333, 0.356725146199, 0.333333333333),
}


@pytest.mark.parametrize("name", PINNED)
def test_weights(name: str) -> None:
    part, *settings = name.split()
    options = registry.find("balancing", part).options(**dict(setting.split("=") for setting in settings))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        balancing = registry.load("balancing", part)(options, ["a", "b", "c"])
    gramian, losses = (torch.tensor(values, dtype=torch.float64) for values in (GRAMIAN, LOSSES))
    found = dict(zip("abc", balancing.weights(gramian, losses).tolist(), strict=True))
    compare(found, dict(zip("abc", PINNED[name], strict=True)), "PretrainSource")


def test_every_one_is_pinned() -> None:
    options = {name: registry.find("balancing", name).options() for name in registry.parts("balancing")}
    compared = {name for name, model in options.items() if model.compares == "all"}  # type: ignore[attr-defined]
    assert {name.split()[0] for name in PINNED} == compared
