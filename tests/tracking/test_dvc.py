"""What DVC says is told in a line, with what to do; what it shows fits a screen; its lock agrees with dvc.yaml."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tessera.jobs import KINDS, Job, SummarizeStudy
from tessera.study.config import Config
from tessera.study.plan import Plan
from tessera.tracking.dvc import STAGES, SUMMARIZE, commit, complete_stages, gather, why, why_not

ROOT = Path(__file__).parents[2]
TRACEBACK = """Traceback (most recent call last):
  File "config.py", line 213, in load_file
    conf_obj = ConfigObj(fobj)
configobj.ParseError: Invalid line ('[core') (matched as neither section nor keyword) at line 1.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "config.py", line 217, in load_file
    raise ConfigError(str(exc)) from exc
dvc.config.ConfigError: config file error: Invalid line ('[core') (matched as neither section nor keyword) at line 1.
"""
LOCKED = """WARNING: 'artifacts/pretext' is empty.
ERROR: failed to commit prepare_dataset - Unable to acquire lock. Most likely another DVC process is running or was \
terminated abruptly. Check the page <https://dvc.org/doc/user-guide/troubleshooting#lock-issue> for other possible \
reasons and to learn how to resolve this.
"""
INVALID = """'./dvc.lock' is invalid.

While scanning a simple key, in line 5, column 5
  5 │   deps

Could not find expected ':', in line 5, column 9
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            LOCKED,
            "failed to commit prepare_dataset - Unable to acquire lock. Most likely another DVC process is running or "
            "was terminated abruptly: when no other `dvc` is at work, one was killed: delete .dvc/tmp/lock and "
            ".dvc/tmp/rwlock",
        ),
        (
            INVALID,
            "'./dvc.lock' is invalid. While scanning a simple key, in line 5, column 5: `git checkout dvc.lock` "
            "restores it; or delete it, for it is written anew",
        ),
        (
            "'./dvc.yaml' validation failed.\n\nexpected a dictionary, in stages -> a, line 1, column 9\n  1 stages\n",
            "'./dvc.yaml' validation failed. expected a dictionary, in stages -> a, line 1, column 9: mend it, or "
            "`git checkout dvc.yaml`",
        ),
        (
            TRACEBACK,
            "config file error: Invalid line ('[core') (matched as neither section nor keyword) at line 1: mend "
            ".dvc/config, or `git checkout .dvc/config` (.dvc/config.local is your own)",
        ),
        (
            "ERROR: unexpected error - [Errno 13] Permission denied: '.dvc/tmp/lock'\n\nHaving any troubles? Hit us "
            "up at https://dvc.org/support, we are always happy to help!\n",
            "unexpected error - [Errno 13] Permission denied: '.dvc/tmp/lock': make the folder writable, or set "
            "tracking.dvc.enabled to false",
        ),
        ("WARNING: 'results' is empty.\n", ""),
    ],
    ids=["locked", "lock file", "stages", "configuration", "read-only", "nothing"],
)
def test_what_dvc_says_is_told_in_a_line_with_what_to_do(said: str, told: str) -> None:
    assert why(said) == told


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for folder in ("config", "workflow/tessera"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("x")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_why_nothing_is_committed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert why_not(repository) is None
    monkeypatch.setenv("DVC_STAGE", "pretrain_source")
    assert why_not(repository) == "inside `dvc repro`, which commits by itself"
    monkeypatch.delenv("DVC_STAGE")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert why_not(repository) == "DVC is not installed"
    shutil.rmtree(repository / ".git")
    assert why_not(repository) == "this is no git repository (`git init` makes it one)"
    (repository / "dvc.yaml").unlink()
    assert why_not(repository) == "this is no DVC repository"


def test_a_folder_that_cannot_be_written_is_told(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    told = commit(repository, STAGES)
    assert told is not None
    assert told.endswith(": make the folder writable, or set tracking.dvc.enabled to false")


def dvc(*words: str, at: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=at, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_real_dvc(repository: Path) -> None:
    """Its own words, for every damage that it was seen to tell of."""
    assert commit(repository, STAGES) is None
    assert "up to date" in dvc("status", at=repository)
    whole = (repository / "dvc.lock").read_text()
    assert commit(repository, STAGES - {"pretrain_source"}) is None
    assert dvc("status", at=repository).split() == ["pretrain_source:", "changed", "command"]

    for name, content, words in (
        ("dvc.lock", whole[:100], "`git checkout dvc.lock` restores it"),
        ("dvc.lock", "stages: 5", "`git checkout dvc.lock` restores it"),
        ("dvc.yaml", "stages: {", "`git checkout dvc.yaml`"),
        ("dvc.yaml", "stages: {a: 5}", "`git checkout dvc.yaml`"),
        (".dvc/config", "[core", "mend .dvc/config"),
        (".dvc/config", "[core]\nautostag = x", "mend .dvc/config"),
    ):
        before = (repository / name).read_text()
        (repository / name).write_text(content)
        told = commit(repository, STAGES)
        assert told is not None, name
        assert words in told
        assert "\n" not in told
        assert len(told) < 400
        (repository / name).write_text(before)

    hold = "import sys; from dvc.repo import Repo\nwith Repo('.').lock: print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        told = commit(repository, STAGES)
        holder.communicate("")
    assert told is not None
    assert "delete .dvc/tmp/lock" in told
    assert commit(repository, STAGES) is None


@pytest.mark.slow
def test_figures_of_many_studies_fit_a_screen(repository: Path) -> None:
    long = "A row whose label goes on and on, and differs in its last word: "
    for study in ("one", "a_study_of_a_long_name"):
        folder = repository / "results" / study
        folder.mkdir(parents=True)
        rows = {f"{long}{word}": {"linear probe of all layers": 12.345678, "kNN": 1.0} for word in ("first", "last")}
        (folder / "metrics.json").write_text(json.dumps(rows))
    assert commit(repository, STAGES) is None
    lines = dvc("metrics", "show", at=repository).splitlines()
    assert len(lines) == 1 + 8
    assert max(map(len, lines)) < 80


def test_cells_of_a_study_that_is_gone_or_renamed_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "one"
    folder.mkdir(parents=True)
    for rows in ({"a/b": {"x": 1.0}, "a b": {"x": 2.0}}, {"c": {"x": 3.0}}):
        (folder / "metrics.json").write_text(json.dumps(rows))
        gather(tmp_path)
        shown = [json.loads(path.read_text())["mean"] for path in sorted(tmp_path.glob("results/metrics/*/*"))]
        assert sorted(shown) == sorted(value for columns in rows.values() for value in columns.values())


def test_a_stage_is_complete_when_nothing_is_missing_that_was_asked_for(tmp_path: Path) -> None:
    made, missing = (
        Job(stage="pretrain_source", words=words, version=1, trial=0, settings={}, inputs={}) for words in ("a", "b")
    )
    summaries = {
        name: SummarizeStudy(
            name=name,
            title="t",
            description="",
            scale="smoke",
            trials=1,
            rows=(),
            columns=(),
            cells=(),
            artifacts=(job.folder,),
        )
        for name, job in (("asked", made), ("chosen", missing))
    }
    plan = Plan(
        Config(studies=["chosen"]),
        tmp_path,
        {job.folder: job for job in (made, missing)},
        {"chosen": summaries["chosen"]},
        {"asked": summaries["asked"]},
    )
    for path in (made.manifest, summaries["asked"].marker):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert complete_stages(plan, ["asked"]) == STAGES
    assert complete_stages(plan) == STAGES - {"pretrain_source", SUMMARIZE}


def test_stages_of_dvc_are_those_of_the_plan() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(stages) == STAGES
    assert {f"artifacts/{kind.folder}" for kind in KINDS.values()} | {"results"} == {
        next(iter(out)) for stage in stages.values() for out in stage["outs"]
    }
