"""States of unfinished trainings: damage is seen, and a crash at any moment leaves one that is whole."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tessera
from tessera.errors import TesseraError
from tessera.files import remove_drafts
from tessera.training.checkpoint import Checkpoint, reached

STATE = {"weights": torch.arange(300.0), "history": [{"epoch": 1, "loss": 0.5}]}
NEXT = {"weights": torch.arange(300.0) + 1, "history": [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "words-12345678" / "state"


@pytest.fixture
def checkpoint(folder: Path) -> Checkpoint:
    found = Checkpoint(folder)
    found.save(STATE, "epoch 1 of 2")
    return found


def is_state(found: dict[str, Any] | None, state: dict[str, Any]) -> bool:
    return (
        found is not None and found["history"] == state["history"] and torch.equal(found["weights"], state["weights"])
    )


def test_what_was_saved_is_loaded(checkpoint: Checkpoint, folder: Path) -> None:
    assert is_state(checkpoint.load(), STATE)
    assert is_state(torch.load(folder / "state.pt", weights_only=True), STATE)
    assert reached(folder) == "epoch 1 of 2"
    assert [path.name for path in folder.iterdir()] == ["state.pt"]
    assert torch.serialization.get_crc32_options()


def test_every_flipped_bit_is_seen(checkpoint: Checkpoint, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, drawn = folder / "state.pt", random.Random(3)
    whole = path.read_bytes()
    for place in [0, len(whole) - 1, len(whole) - 66, *(drawn.randrange(len(whole)) for _ in range(200))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << drawn.randrange(8)
        path.write_bytes(damaged)
        caplog.clear()
        assert checkpoint.load() is None, place
        assert not path.exists()
        (line,) = [record.getMessage() for record in caplog.records]
        assert "cannot be used (it " in line
        assert "damaged" in line
        assert line.endswith("moved to state.damaged, training starts anew")


@pytest.mark.parametrize("kept", [0, 1, 100, -1, -65, -66, -100])
def test_a_state_that_is_cut_short_is_seen(checkpoint: Checkpoint, folder: Path, kept: int) -> None:
    path = folder / "state.pt"
    path.write_bytes(path.read_bytes()[:kept])
    assert checkpoint.load() is None
    assert (folder / "state.damaged").exists()


def test_a_state_of_another_job_is_refused_by_name(
    checkpoint: Checkpoint, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Checkpoint(folder.parent.with_name("words-87654321") / "state")
    assert other.path is not None
    other.path.parent.mkdir(parents=True)
    (folder / "state.pt").rename(other.path)
    assert other.load() is None
    assert "it is the state of words-12345678" in caplog.text


def test_a_state_of_an_older_version_is_refused(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir(parents=True)
    torch.save(STATE, folder / "state.pt")
    assert Checkpoint(folder).load() is None
    assert "it has no checksum: it is damaged, or of an older version" in caplog.text


def test_what_ran_out_says_nothing_of_the_state(checkpoint: Checkpoint, folder: Path) -> None:
    def go_on(_: object, state: dict[str, Any]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    with pytest.raises(torch.OutOfMemoryError):
        checkpoint.resume(object, go_on)
    assert is_state(checkpoint.load(), STATE)


def test_a_state_that_cannot_be_read_is_kept(folder: Path) -> None:
    (folder / "state.pt").mkdir(parents=True)  # reading it fails for every user
    with pytest.raises(TesseraError, match=r"state.pt: cannot be read \(.*delete the file, and the training starts"):
        Checkpoint(folder).load()
    assert (folder / "state.pt").exists()


def test_no_folder_keeps_nothing() -> None:
    checkpoint = Checkpoint(None)
    checkpoint.save(STATE)
    assert checkpoint.load() is None
    assert checkpoint.resume(list, lambda *_: pytest.fail("no state")) == []


class Crash(BaseException):
    """The process is gone."""


class Operations:
    """Counts operations on files; at the n-th the process dies, and nothing after it happens either."""

    def __init__(self, last: int, die: Callable[[], Any]) -> None:
        self.left, self.die = last, die

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.die()

    def patch(self, setattr: Callable[[Any, str, Any], object]) -> None:
        for owner, name in ((Path, "mkdir"), (Path, "unlink"), (os, "replace")):
            setattr(owner, name, self._before(getattr(owner, name)))
        setattr(torch, "save", self._halfway(torch.save))
        setattr(Path, "open", self._opening(Path.open))

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **named: Any) -> Any:
            self.count()
            return function(*arguments, **named)

        return operation

    def _halfway(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def operation(state: Any, path: Path) -> None:
            self.count()  # before it, as an empty file, half written, whole
            path.touch()
            self.count()
            save(state, path)
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            self.count()
            path.write_bytes(content)

        return operation

    def _opening(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def operation(path: Path, *arguments: Any, **named: Any) -> Any:
            file = function(path, *arguments, **named)
            if "r+b" not in arguments:
                return file

            def write(content: bytes) -> None:
                for some in (content[:50], content[50:]):
                    self.count()
                    file.write(some)
                    file.flush()

            return _Writing(file, write)

        return operation


class _Writing:
    def __init__(self, file: Any, write: Callable[[bytes], object]) -> None:
        self.file, self.write = file, write

    def __enter__(self) -> "_Writing":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def check_after_crash(folder: Path) -> bool:
    """Whether the new state is there, whole; else the old one must be. Removes what the dead process left."""
    remove_drafts(folder, alone=True)
    assert {path.name for path in folder.iterdir()} == {"state.pt"}
    found = Checkpoint(folder).load()
    assert is_state(found, NEXT) or is_state(found, STATE)
    assert reached(folder) in ("epoch 1 of 2", "epoch 2 of 2")
    return is_state(found, NEXT)


def test_a_crash_at_any_file_operation_leaves_a_whole_state(checkpoint: Checkpoint, folder: Path) -> None:
    def die() -> None:
        raise Crash

    seen = []
    for last in range(100):
        checkpoint.save(STATE, "epoch 1 of 2")
        with pytest.MonkeyPatch.context() as patch:
            Operations(last, die).patch(patch.setattr)
            try:
                checkpoint.save(NEXT, "epoch 2 of 2")
                ended = True
            except Crash:
                ended = False
        seen.append(check_after_crash(folder))
        if ended:
            break
    assert len(seen) > 7
    assert seen == sorted(seen)  # the old one up to some operation, from then on the new one
    assert seen[-2:] == [True, True]  # it is there before the last operation


DYING = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoint import NEXT, STATE, Operations, check_after_crash
from tessera.training.checkpoint import Checkpoint

folder = Path("words-12345678/state")
for last in range(100):
    Checkpoint(folder).save(STATE, "epoch 1 of 2")
    if (child := os.fork()) == 0:
        Operations(last, lambda: os._exit(9)).patch(setattr)
        Checkpoint(folder).save(NEXT, "epoch 2 of 2")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    new = check_after_crash(folder)
    if code == 0:
        assert new and last > 7
        sys.exit(0)
    assert code == 9
sys.exit("it never ended")
"""


@pytest.mark.slow
def test_a_process_that_dies_at_any_file_operation_leaves_a_whole_state(tmp_path: Path) -> None:
    places = [str(Path(tessera.__file__).parent.parent), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DYING, places[1]],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": places[0]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_failed_save_leaves_no_draft(checkpoint: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 184384 vs 184280")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RuntimeError):
        checkpoint.save(NEXT)
    assert [path.name for path in folder.iterdir()] == ["state.pt"]
    assert is_state(checkpoint.load(), STATE)
    assert torch.serialization.get_crc32_options()


def test_asking_how_far_it_came_imports_no_torch(checkpoint: Checkpoint, folder: Path) -> None:
    code = "import sys; from pathlib import Path; from tessera.training.checkpoint import reached; "
    code += "print(reached(Path(sys.argv[1])), 'torch' in sys.modules)"
    package = str(Path(tessera.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "PYTHONPATH": package}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "epoch 1 of 2 False\n"


def test_what_a_state_says_of_itself_is_json_before_the_checksum(checkpoint: Checkpoint, folder: Path) -> None:
    about = (folder / "state.pt").read_bytes().split(b"\n")[-3]
    assert json.loads(about) == {"job": "words-12345678", "reached": "epoch 1 of 2"}
