"""Balancings that draw: their numbers are their own, and those of a resumed training."""

from pathlib import Path

import pytest
import torch
from multitask_stand_ins import BRIGHTNESS, CONTRAST, TURN, Brightness, tiny_dataset, tiny_source

from tessera.multitask.epochs import Pretrained
from tessera.multitask.learner import Learner
from tessera.multitask.pretrain import pretrain
from tessera.training.compute import Compute


@pytest.mark.parametrize("name", ["pcgrad", "random"])
def test_draws_go_on_where_an_interrupted_training_ended(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(trial: int = 0, resume: Path | None = None) -> Pretrained:
        source = tiny_source(balancing=name, tasks=[TURN, BRIGHTNESS, CONTRAST], epochs=2)
        return pretrain(source, tiny_dataset(), {}, Compute(torch.device("cpu"), "float32"), trial, resume)

    whole, take, turns = run(), Learner.take, 0

    def fails(self: Learner, *given: object) -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            raise KeyboardInterrupt
        take(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "take", fails)
        with pytest.raises(KeyboardInterrupt):
            run(resume=tmp_path)
    resumed = run(resume=tmp_path)
    for one, other in zip(whole.encoder.parameters(), resumed.encoder.parameters(), strict=True):
        assert torch.equal(one, other)
    weights = [key for key in whole.history[0] if key.startswith("weight.")]
    assert [whole.history[1][key] for key in weights] == [resumed.history[1][key] for key in weights]
    other_trial = run(trial=1)
    if name == "random":
        assert [whole.history[0][key] for key in weights] != [other_trial.history[0][key] for key in weights]


def test_draws_leave_dropout_s_numbers_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    loss = Brightness.loss

    def recorded(self: Brightness, prediction: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        drawn.append(torch.get_rng_state())
        return loss(self, prediction, labels)

    monkeypatch.setattr(Brightness, "loss", recorded)
    for name in ("equal", "pcgrad", "random"):
        source = tiny_source(balancing=name, tasks=[TURN, BRIGHTNESS], epochs=1)
        pretrain(source, tiny_dataset(), {}, Compute(torch.device("cpu"), "float32"), 0, None)
    each = len(drawn) // 3
    for first, *others in zip(drawn[:each], drawn[each : 2 * each], drawn[2 * each :], strict=True):
        assert all(torch.equal(first, other) for other in others)
