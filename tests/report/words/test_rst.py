"""Captions of `snakemake --report`, which docutils reads."""

import pytest
from docutils.core import publish_doctree  # type: ignore[import-untyped]

from tessera.report.pictures.impact import CAPTION as IMPACT
from tessera.report.pictures.sharing import CAPTION as SHARING
from tessera.report.words.rst import rst


@pytest.mark.parametrize("text", [IMPACT, SHARING, "a_b_, *c* \\ and |d|: `e` is `"])
def test_a_caption_is_read_as_it_is_written(text: str) -> None:
    tree = publish_doctree(rst(text), settings_overrides={"halt_level": 2, "report_level": 2})
    assert tree.astext() == text.replace("`e`", "e")
