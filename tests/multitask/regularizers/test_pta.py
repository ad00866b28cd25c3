"""Several trained heads a task: their mean by a loop, one head as plain training, and what is refused."""

from typing import Any

import pytest
import torch
from multitask_stand_ins import TinyEncoder, pass_of, tiny_dataset, tiny_source
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

from tessera.models.heads.vectors import VectorHead
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.multitask.regularizers.options import PtaOptions
from tessera.multitask.regularizers.pta import PseudoTasks
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")


def pta(heads: int) -> PseudoTasks:
    torch.manual_seed(0)
    return PseudoTasks(PtaOptions.model_construct(heads=heads), 6, {"a": lambda: VectorHead(6, (5,), 2)})


@pytest.mark.parametrize("number", [1, 2, 4])
def test_loss_and_gradients_are_the_mean_over_the_heads(number: int) -> None:
    regularizer, encoder, own = pta(number).double(), TinyEncoder().double(), VectorHead(6, (5,), 2).double()
    images = torch.randn(4, 3, 16, 16).double()
    seen = pass_of(encoder(images), loss_by=lambda head, features: head(features).square().mean(), head=own)
    total = seen.loss + regularizer(seen)

    heads: list[nn.Module] = [own, *regularizer.others["a"].children()]
    assert len(heads) == number
    losses = [head(encoder(images)).square().mean() for head in heads]
    assert_close(total, sum(losses) / number)
    for module in (encoder, own, *heads):
        weights = list(module.parameters())
        expected = [torch.zeros_like(weight) for weight in weights]
        for loss in losses:  # one head after the other
            parts = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
            expected = [a if b is None else a + b / number for a, b in zip(expected, parts, strict=True)]
        assert_close(torch.autograd.grad(total, weights, retain_graph=True), tuple(expected))


def test_one_head_is_plain_training_to_the_bit() -> None:
    runs = []
    for options in (None, PtaOptions.model_construct(name="pta", heads=1)):
        source = tiny_source(epochs=2)
        if options is not None:
            source = source.model_copy(update={"regularizer": options})
        runs.append(pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None))
    one, other = (run.encoder.state_dict() | run.heads.state_dict() for run in runs)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_one_head_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        PtaOptions(heads=1)


def test_further_heads_are_trained_each_on_its_own_and_the_task_s_own_is_kept() -> None:
    source = tiny_source(regularizer={"name": "pta", "heads": 3}, epochs=2)
    began = Learner(source, tiny_dataset(), {}, COMPUTE, 0)
    kept: dict[str, Any] = {}
    original = PseudoTasks.forward

    def forward(self: PseudoTasks, seen: Any) -> Any:
        kept["regularizer"] = self
        return original(self, seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PseudoTasks, "forward", forward)
        result = pretrain(source, tiny_dataset(), {}, COMPUTE, 0, None)
    assert result.heads.state_dict().keys() == began.heads.state_dict().keys()
    before, after = began.regularizer.state_dict(), kept["regularizer"].state_dict()
    weights = [name for name in before if name.endswith("weight")]
    assert len(weights) == 2 * 1 + 2 * 3  # two further heads a task, of one layer and of three
    assert not any(torch.equal(before[name], after[name]) for name in weights)
    assert len({after[name].double().sum().item() for name in weights}) == len(weights)
