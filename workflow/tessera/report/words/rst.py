"""Words for `snakemake --report`, which reads them as reStructuredText."""

import re


def rst(text: str) -> str:
    """The text as it is written, with words between backticks as code.

    >>> print(rst("|α| of `a_b`: 2 * x_1"))
    \\|α\\| of ``a_b``: 2 \\* x\\_1
    """
    return re.sub(r"`([^`]+)`|([\\|*_`])", lambda found: f"``{found[1]}``" if found[1] else f"\\{found[2]}", text)
