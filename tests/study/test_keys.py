"""The folder names of every job of every shipped study, at every scale: who changes one makes users compute it again.

Pinned in keys.csv, a digest for each stage. Where a change of keys is meant: `python tests/study/test_keys.py`.
"""

import csv
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

import pytest

from tessera.jobs import FOLDERS
from tessera.study import plan

ROOT = Path(__file__).parent.parent.parent
PINNED = Path(__file__).with_name("keys.csv")
SCALES = sorted(path.stem for path in (ROOT / "config" / "scales").glob("*.yaml"))


def lines_of(scale: str) -> dict[tuple[str, str, str], tuple[str, str]]:
    """(scale, study, stage) to how many jobs there are, and a digest of their folders."""
    made = plan.make_plan({"studies": ["quickstart"], "scale": scale}, ROOT)
    found = {}
    for name in sorted({**made.studies, **made.others}):
        folders = defaultdict(list)
        for folder, job in made.jobs_of([name]).items():
            folders[job.stage].append(folder)
        for stage in FOLDERS:
            if stage in folders:
                digest = sha256("\n".join(sorted(folders[stage])).encode()).hexdigest()[:12]
                found[scale, name, stage] = str(len(folders[stage])), digest
    return found


@pytest.mark.parametrize("scale", SCALES)
def test_no_key_has_changed(scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_missing_images", lambda plan, jobs: None)  # whatever lies on this machine
    with PINNED.open(newline="") as file:
        pinned = {(where, name, stage): (jobs, digest) for where, name, stage, jobs, digest in csv.reader(file)}
    now = lines_of(scale)
    expected = {line: value for line, value in pinned.items() if line[0] == scale}
    differ = sorted(line for line in {*now, *expected} if now.get(line) != expected.get(line))
    assert not differ, f"artifacts of these would be made again by every user: {differ}"


if __name__ == "__main__":
    plan._missing_images = lambda plan, jobs: None
    with PINNED.open("w", newline="") as pinned_file:
        writer = csv.writer(pinned_file, lineterminator="\n")
        for each in SCALES:
            writer.writerows([*line, *value] for line, value in lines_of(each).items())
