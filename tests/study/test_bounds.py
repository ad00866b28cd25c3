"""What options may say, whatever part they are of."""

from contextlib import nullcontext
from typing import Any

import pytest
from pydantic import ValidationError

from tessera.data.datasets.options.digits import DigitsMOptions
from tessera.multitask.source import Source
from tessera.study.files import describe
from tessera.study.schema import Target


@pytest.mark.parametrize(
    ("key", "value", "most"),
    [
        ("source.epochs", 10**400, "1e+09"),
        ("source.batch_size", 10**12, "1e+09"),
        ("source.optimizer.learning_rate", 1e300, "1e+30"),
        ("target.epochs", 10**10, "1e+09"),
    ],
)
def test_numbers_that_nothing_can_compute_with_are_refused(key: str, value: float, most: str) -> None:
    inner: Any = value
    for word in reversed(key.split(".")[1:]):
        inner = {word: inner}
    model = Source if key.startswith("source") else Target
    needed = {"dataset": "digits_m", **({"tasks": ["jigsaw"]} if model is Source else {})}
    with pytest.raises(ValidationError) as caught:
        model.model_validate({**needed, **inner})
    (error,) = caught.value.errors(include_url=False)
    told = describe(error, ())
    assert told.startswith(f"`{key.partition('.')[2]}`: should be at most {most}, but is ")
    assert "\n" not in told


@pytest.mark.parametrize(("seed", "fits"), [(0, True), (2**63 - 1, True), (10**30, False)])
def test_seeds_may_be_large_but_not_larger_than_a_generator_takes(seed: int, fits: bool) -> None:
    with nullcontext() if fits else pytest.raises(ValidationError, match="should be at most 9"):
        DigitsMOptions(seed=seed)
