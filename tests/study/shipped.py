"""The shipped configuration, a few of its studies at a time."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def project(root: Path, *studies: str) -> Path:
    """The shipped configuration with these studies alone: a plan is of all that lie there."""
    (root / "config" / "studies").mkdir(parents=True)
    for name in ("scales", "methods", "studies/published", *(f"studies/{study}.yaml" for study in studies)):
        (root / "config" / name).symlink_to(ROOT / "config" / name)
    return root
