"""Pictures of few pixels, save where a test looks at them: what they say, and where, does not depend on how many."""

import pytest

from tessera.report.pictures import drawing

SHIPPED = drawing.DOTS_PER_INCH


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "DOTS_PER_INCH", 64)


@pytest.fixture
def fine(_coarse: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many pixels as a user sees."""
    monkeypatch.setattr(drawing, "DOTS_PER_INCH", SHIPPED)
