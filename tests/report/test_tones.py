"""The colour of a comparison's sign says better or worse, whichever way its figure points."""

import pytest

from tessera.report.words.answers import Line


@pytest.mark.parametrize(
    ("verdict", "lower_is_better", "tone"),
    [
        ("above", False, "better"), ("below", False, "worse"), ("above", True, "worse"), ("below", True, "better"),
        ("noise", True, ""), ("unknown", False, ""), ("missing", False, ""),
    ],
)  # fmt: skip
def test_a_lower_error_is_better(verdict: str, lower_is_better: bool, tone: str) -> None:
    assert Line("", verdict, "yes", "", lower_is_better).tone == tone
