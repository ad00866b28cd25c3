"""A longer training goes on from the state of a shorter one, and ends with the bytes of one in one go."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import multitask_stand_ins as stand_ins
import pytest
import torch
from multitask_stand_ins import BRIGHTNESS, TURN, tiny_dataset, tiny_source
from torch import nn

from tessera import states as states_page
from tessera.artifacts import verify
from tessera.jobs import Job, PretrainSource, Run
from tessera.multitask.epochs import Pretrained
from tessera.multitask.pretrain import pretrain
from tessera.multitask.source import Source
from tessera.states import CARRIED, STATE, States, kept, state_of, unmoved_epochs
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")
DATASET = tiny_dataset()
WSD = {"learning_rate": 0.05, "schedule": "wsd", "decay_epochs": 1, "warmup_epochs": 0.5}
METHODS: dict[str, dict[str, Any]] = {
    "joint": {},
    "adam": {"optimizer": {**WSD, "kind": "adam", "learning_rate": 0.01}},
    "gradnorm": {"balancing": "gradnorm"},
    "dwa": {"balancing": "dwa"},
    "auto_lambda": {"balancing": "auto_lambda"},
    "tte": {
        "schedule": "branches",
        "fusion": {"name": "tte", "window": 2},
        "regularizer": {"name": "divergence", "anchor": "running_mean"},
    },
    "branches_adam": {
        "schedule": {"name": "branches", "reset_optimizer": False},
        "fusion": "average",
        "optimizer": {**WSD, "kind": "adam", "learning_rate": 0.01},
    },
    "round_robin": {"schedule": {"name": "round_robin", "order": "random"}},
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def source_of(epochs: int, **settings: Any) -> Source:
    return tiny_source(**{"optimizer": WSD, "epochs": epochs, **settings})


def job_of(source: Source, trial: int = 0, **run: Any) -> Job:
    """As the plan makes it."""
    settings = PretrainSource(source=source).model_dump(mode="json")
    inputs = {"dataset": "artifacts/datasets/d-0123abcd"}
    about: dict[str, Any] = {"version": PretrainSource.version, "trial": trial, "settings": settings, "inputs": inputs}
    return Job(stage="pretrain_source", words=f"d.tiny.t{trial}", run=Run(**run), **about)


def states_for(source: Source, trial: int = 0, precision: str = "float32", **run: Any) -> States:
    job = job_of(source, trial, **run)
    folder = Path("resume", "source", job.name, "state")
    folder.mkdir(parents=True, exist_ok=True)
    return States(job, folder, precision, lambda: {"device": "cpu", "precision": precision})


def train(source: Source, states: States | None = None, trial: int = 0) -> Pretrained:
    return pretrain(source, DATASET, {}, COMPUTE, trial, None if states is None else states.resume, states)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def timeless(figures: Any) -> Any:
    if isinstance(figures, list):
        return [timeless(row) for row in figures]
    return {key: value for key, value in figures.items() if key not in ("seconds", "images_per_second")}


def assert_same(one: Pretrained, other: Pretrained) -> None:
    assert same(one.encoder, other.encoder)
    assert same(one.heads, other.heads)
    assert same(one.sharing, other.sharing)
    assert timeless(one.history) == timeless(other.history)
    assert timeless(one.metrics) == timeless(other.metrics)


def without_none(content: Any) -> Any:
    """What can be compared number by number."""
    if isinstance(content, dict):
        return {key: without_none(value) for key, value in content.items()}
    return [without_none(each) for each in content] if isinstance(content, list) else 0 if content is None else content


def folders() -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in Path("artifacts/states").glob("*"))


@pytest.mark.parametrize("method", METHODS)
def test_an_extended_training_ends_with_the_bytes_of_one_in_one_go(method: str) -> None:
    short, long = (source_of(epochs, **METHODS[method]) for epochs in (3, 5))
    whole = train(long)
    train(short, states_for(short))
    assert folders() == ["d.tiny.t0.e2"]
    extended = train(long, states_for(long))
    assert extended.extends is not None
    assert extended.extends["epochs"] == 2
    assert_same(extended, whole)
    # The state that it leaves is that of a training in one go, its times aside.
    mine = torch.load(f"{state_of(job_of(long), 4).folder}/{STATE}", weights_only=True)
    shutil.rmtree("artifacts")
    shutil.rmtree("resume")
    train(long, states_for(long))
    other = torch.load(f"{state_of(job_of(long), 4).folder}/{STATE}", weights_only=True)
    for content in (mine, other):
        content["history"] = [{**row, "order": 0} for row in timeless(content["history"])]
        del content["extends"]
        content["optimizers"] = {name: without_none(state) for name, state in content["optimizers"].items()}
    torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_three_lengths_are_one_training_and_a_decay_is_a_branch_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = stand_ins.Turn.make_batch

    def counts(self: Any, *arguments: Any) -> Any:
        seen.append(1)
        return original(self, *arguments)

    def steps(source: Source, states: States | None = None) -> tuple[Pretrained, int]:
        seen.clear()
        with monkeypatch.context() as patch:
            patch.setattr(stand_ins.Turn, "make_batch", counts)
            found = train(source, states)
        return found, len(seen)

    constant = {"optimizer": {"learning_rate": 0.05, "schedule": "constant", "warmup_epochs": 0.5}}
    linear = {"optimizer": {**WSD, "decay_epochs": 2, "decay": "linear"}}
    sources = [source_of(2, **constant), source_of(3), source_of(4, **linear)]
    alone = [steps(source) for source in sources]
    extended = [steps(source, states_for(source)) for source in sources]
    for (one, _), (other, _) in zip(alone, extended, strict=True):
        assert_same(one, other)
    assert folders() == ["d.tiny.t0.e2"], "all three have the same first two epochs"
    per_epoch = alone[1][1] - alone[0][1]
    assert [number for _, number in extended] == [
        alone[0][1], alone[1][1] - 2 * per_epoch, alone[2][1] - 2 * per_epoch,
    ]  # fmt: skip
    again, number = steps(sources[0], states_for(sources[0]))
    assert number == alone[0][1] - 2 * per_epoch, "of a constant rate, the state is all of the training"
    assert_same(again, alone[0][0])


def test_a_killed_extension_goes_on_and_still_says_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = source_of(3, **METHODS["tte"]), source_of(6, **METHODS["tte"])
    whole = train(long)
    train(short, states_for(short))
    original, calls = stand_ins.Brightness.make_batch, 0

    def fails(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 12:  # in the second epoch of its own
            raise KeyboardInterrupt
        return original(self, *arguments)

    states = states_for(long)
    with monkeypatch.context() as patch:
        patch.setattr(stand_ins.Brightness, "make_batch", fails)
        with pytest.raises(KeyboardInterrupt):
            train(long, states)
    done = len(torch.load(states.resume / "state.pt", weights_only=True)["history"])
    assert 2 < done < 5, done
    resumed = train(long, states_for(long))
    assert_same(resumed, whole)
    assert resumed.extends is not None
    assert resumed.extends["epochs"] == 2
    assert "d.tiny.t0.e5" in folders()


def test_a_state_that_came_further_than_the_training_itself_is_taken() -> None:
    source = source_of(5)
    whole, states = train(source), states_for(source)
    train(source, states)
    early = torch.load(states.resume / "state.pt", weights_only=True)
    assert len(early["history"]) == 5
    first = source_of(2)
    train(first, other := states_for(first))
    Checkpoint(states.resume).save({**torch.load(other.resume / "state.pt", weights_only=True)}, "epoch 2 of 5")
    found = train(source, states_for(source))
    assert found.extends is not None
    assert found.extends["epochs"] == 4
    assert_same(found, whole)


def test_its_key_covers_the_beginning_and_nothing_of_the_end() -> None:
    plain = job_of(source_of(5))
    key = state_of(plain, 2).key
    for same_beginning in (
        source_of(9),
        source_of(9, statistics_batches=1),
        source_of(9, optimizer={**WSD, "decay_epochs": 3, "decay": "linear"}),
        source_of(9, optimizer={"learning_rate": 0.05, "schedule": "constant", "warmup_epochs": 0.5}),
    ):
        assert state_of(job_of(same_beginning), 2).key == key
    others = [
        job_of(source_of(5), trial=1),
        job_of(source_of(5), precision="bfloat16"),
        job_of(source_of(5, optimizer={**WSD, "warmup_epochs": 0.25})),
        job_of(source_of(5, optimizer={**WSD, "momentum": 0.8})),
        job_of(source_of(5, iterations=7)),
        job_of(source_of(5, tasks=[TURN])),
        job_of(source_of(5, tasks=[BRIGHTNESS, TURN])),
        plain.model_copy(update={"inputs": {"dataset": "artifacts/datasets/d-ffffffff"}}),
        plain.model_copy(update={"own_code": {"a:B": "1"}}),
        plain.model_copy(update={"version": plain.version + 1}),
    ]
    assert len({state_of(job, 2).key for job in [plain, *others]} | {state_of(plain, 3).key}) == len(others) + 2


@pytest.mark.parametrize(
    ("optimizer", "epochs"),
    [
        (WSD, 4),
        ({"schedule": "constant"}, 5),
        ({"schedule": "constant", "warmup": 0.1}, 0),
        ({"schedule": "cosine"}, 0),
        ({"schedule": "steps"}, 0),
    ],
)
def test_what_is_the_same_in_a_longer_training(optimizer: dict[str, Any], epochs: int) -> None:
    assert unmoved_epochs(job_of(source_of(5, optimizer=optimizer))) == epochs


def test_no_state_is_kept_where_none_is_wanted_or_none_can_be() -> None:
    train(source_of(3), states_for(source_of(3), keep_state=False))
    cosine = source_of(3, optimizer={"schedule": "cosine"})
    train(cosine, states_for(cosine))
    assert folders() == []


def damage(folder: Path, how: str) -> None:
    if how == "bytes":
        path = folder / STATE
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif how == "gone":
        (folder / STATE).unlink()
    else:
        about = json.loads((folder / "artifact.json").read_text())
        about["settings"]["source"]["iterations"] = 99
        (folder / "artifact.json").write_text(json.dumps(about))


@pytest.mark.parametrize("how", ["bytes", "gone", "foreign"])
def test_a_damaged_state_is_set_aside_and_a_shorter_one_serves(how: str, caplog: pytest.LogCaptureFixture) -> None:
    for epochs in (2, 3):
        train(source_of(epochs), states_for(source_of(epochs)))
    long = source_of(5)
    damage(Path(state_of(job_of(long), 2).folder), how)
    with caplog.at_level(logging.INFO):
        found = train(long, states_for(long))
    assert found.extends is not None
    assert found.extends["epochs"] == 1
    assert_same(found, train(long))
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "\n" not in told[0]
    assert "the training does without it" in told[0]
    assert "Moved to resume/damaged" in told[0]


def test_a_state_that_does_not_fit_stays_and_the_training_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    short, long = source_of(3), source_of(5)
    states = states_for(short)
    states.keep(2, lambda: {"history": [], "images": []}, 1.0)
    with caplog.at_level(logging.INFO):
        found = train(long, states_for(long))
    assert found.extends is None
    assert "does not fit this training (it has 0 rows of history" in caplog.text
    verify(Path(state_of(job_of(short), 2).folder))
    assert_same(found, train(long))


def test_a_state_of_another_precision_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    train(source_of(3), states_for(source_of(3), precision="bfloat16"))
    found = train(source_of(5), states_for(source_of(5)))
    assert found.extends is None
    assert "it is of precision bfloat16, not float32: not used" in caplog.text


def test_what_a_training_writes_along_goes_with_its_state() -> None:
    short, long = source_of(3), source_of(5)
    first, second = states_for(short), states_for(long)
    (first.resume / CARRIED).mkdir()
    (first.resume / CARRIED / "epoch_1.txt").write_text("one")
    train(short, first)
    train(long, second)
    assert (second.resume / CARRIED / "epoch_1.txt").read_text() == "one"
    longest = next(kept(Path(), job_of(source_of(9)), 8))
    assert (Path(longest.folder) / CARRIED / "epoch_1.txt").exists()
    assert longest.settings["epochs"] == 4


def kept_bytes(output: Path) -> dict[str, bytes]:
    """What a training hands over of its snapshots."""
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}


def handed(pretrained: Pretrained, output: Path) -> dict[str, bytes]:
    assert pretrained.snapshots is not None
    pretrained.snapshots.hand_over(output, pretrained.views)
    return kept_bytes(output)


@pytest.mark.parametrize("optimizer", [WSD, {"learning_rate": 0.05, "schedule": "constant"}])
@pytest.mark.parametrize("method", ["joint", "tte"])
def test_an_extended_training_has_the_snapshots_of_one_in_one_go(
    method: str, optimizer: dict[str, Any], tmp_path: Path
) -> None:
    """Also of the epoch at whose end the shorter one ended, which needed no snapshot of it."""
    about = {**METHODS[method], "optimizer": optimizer, "snapshots": {"epochs": [1, 3, 4]}}
    short, long = (
        source_of(epochs, **{**about, "snapshots": {"epochs": at}}) for epochs, at in ((3, [1]), (5, [1, 3, 4]))
    )
    train(short, states_for(short))
    extended = train(long, states_for(long))
    assert extended.extends is not None
    mine = handed(extended, tmp_path / "extended")
    assert {name.split("/")[1] for name in mine} == {"epoch_1", "epoch_3", "epoch_4", "index.json"}
    shutil.rmtree("artifacts")
    shutil.rmtree("resume")
    whole = train(long, states_for(long))
    assert whole.extends is None
    assert handed(whole, tmp_path / "whole") == mine
    assert_same(extended, whole)


def test_a_state_without_the_snapshots_that_are_asked_for_is_another_state() -> None:
    short = source_of(3)
    train(short, states_for(short))
    asked = source_of(5, snapshots={"epochs": [1]})
    assert train(asked, states_for(asked)).extends is None
    later = source_of(5, snapshots={"epochs": [2, 4]})  # after epoch 2, where the state is, nothing is lacking
    assert train(later, states_for(later)).extends == {**later_state(short), "seconds": pytest.approx(0, abs=60)}


def test_snapshots_with_statistics_of_other_batches_are_in_another_state() -> None:
    about = {"snapshots": {"epochs": [1]}}
    short, same, other = (
        source_of(epochs, statistics_batches=number, **about) for epochs, number in ((3, 2), (5, 2), (5, 3))
    )
    key = state_of(job_of(short), 2).key
    assert state_of(job_of(same), 2).key == key != state_of(job_of(other), 2).key
    plain = [source_of(3, statistics_batches=number) for number in (2, 3)]
    assert len({state_of(job_of(each), 2).key for each in plain}) == 1


def later_state(short: Source) -> dict[str, Any]:
    return {"state": state_of(job_of(short), 2).folder, "epochs": 2}


def test_a_state_that_is_there_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    train(source_of(3), states_for(source_of(3)))
    monkeypatch.setattr(states_page.artifacts, "publish", None)  # whoever calls it fails
    train(source_of(3), states_for(source_of(3)))


@pytest.mark.parametrize("left", ["cut short", "of another machine"])
def test_what_lies_where_a_state_s_snapshots_belong_does_not_keep_it_from_being_taken(left: str) -> None:
    short, long = (source_of(epochs, snapshots={"epochs": [1]}) for epochs in (3, 5))
    train(short, states_for(short))
    states = states_for(long)
    place = states.resume / CARRIED / "snapshots" / "epoch_1"
    place.mkdir(parents=True)
    name = next(Path(state_of(job_of(long), 2).folder, CARRIED, "snapshots", "epoch_1").glob("*.safetensors")).name
    (place / name).write_bytes(b"" if left == "cut short" else b"other weights")
    found = train(long, states)
    assert found.extends is not None
    assert {path.name for path in states.resume.iterdir()} == {CARRIED, "state.pt"}


def test_a_state_that_does_not_fit_leaves_the_training_its_own(caplog: pytest.LogCaptureFixture) -> None:
    long = source_of(5, snapshots={"epochs": [1, 2]})
    first, states = source_of(2, snapshots={"epochs": [1]}), states_for(long)
    train(first, other := states_for(first))
    shutil.copytree(other.resume / CARRIED, states.resume / CARRIED)
    Checkpoint(states.resume).save({**torch.load(other.resume / "state.pt", weights_only=True)}, "epoch 2 of 5")
    states.keep(4, lambda: {"history": [], "images": []}, 1.0)
    (states.resume / CARRIED / "of its own").write_text("and not the state's")
    own = kept_bytes(states.resume / CARRIED)

    def fails(_: Any) -> None:
        assert kept_bytes(states.resume / CARRIED) != own
        raise ValueError("of other layers")

    assert not states.gives(next(states.beyond(2)), fails)
    assert kept_bytes(states.resume / CARRIED) == own
    assert "does not fit this training (of other layers)" in caplog.text


def test_a_state_that_is_removed_meanwhile_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train(source_of(3), states_for(source_of(3)))
    monkeypatch.setattr(states_page.artifacts, "verify", lambda folder, whole: shutil.rmtree(folder))
    assert train(source_of(5), states_for(source_of(5))).extends is None
    assert "the training does without it" in caplog.text


def test_a_state_that_began_compiled_is_not_taken_where_nothing_is_to_be(caplog: pytest.LogCaptureFixture) -> None:
    short, long = source_of(3), source_of(5)
    train(short, states_for(short))
    path = Path(state_of(job_of(long), 2).folder, STATE)
    content = torch.load(path, weights_only=True)
    shutil.rmtree(path.parent)
    states_for(short).keep(2, lambda: {**content, "compiled": True}, 1.0)
    states = states_for(long)
    never = Compute(torch.device("cpu"), "float32", compile=False)
    assert pretrain(long, DATASET, {}, never, 0, states.resume, states).extends is None
    assert "it began compiled, and `compile: false` is set" in caplog.text
