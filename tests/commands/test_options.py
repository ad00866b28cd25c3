"""What the commands read of their options."""

from pathlib import Path

import pytest
from snakemake.cli import parse_config

from tessera.commands.options import DEFAULT, _merged

WORDS = [
    "3", "0.5", "1e-3", "True", "False", "true", "no", "null", "2020-01-01", "word", "two words", "'quoted'", "",
    "[a, 1, true]", "['1000']", "{dvc: {enabled: false}}", "[unfinished", "1_000", "inf", "a: b",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_config_is_read_as_snakemake_reads_it(word: str, tmp_path: Path) -> None:
    file = tmp_path / DEFAULT
    file.parent.mkdir()
    file.write_text("{}\n")
    found = _merged(tmp_path, [], [f"columns={word}"])
    assert repr(found) == repr(dict(parse_config([f"columns={word}"])))
