"""What a row or a column asks for and no job of the cell does: refused, since the table would show it all the same."""

from collections.abc import Callable, Iterator

from tessera import registry
from tessera.data.labels import DOES
from tessera.errors import StudyError
from tessera.jobs import EvaluateTarget
from tessera.study.chain import determining
from tessera.study.grid import GridCell
from tessera.study.schema import ALL, Experiment, Settings
from tessera.study.settings import Keys, answers, paths_of, spelled
from tessera.transfer.options.base import NoTransferOptions


def refuse_dropped(cell: GridCell, experiment: Experiment, untrained: bool, shown: str) -> None:
    """Makes sure that the jobs of a cell take up each setting that its row or column names.

    A base is no question of a cell: it is for those that use it. Nor is what the other side answers by name: a row
    `target only` stands in columns of sources, and an untrained encoder in columns of learning rates, as baselines. Of
    keys that `+` joins, one is enough.

    Args:
        experiment: The cell's, resolved.
        untrained: The method that the cell names, if any, asks for an encoder without training.
        shown: File, row and column, for messages.

    Raises:
        StudyError: If a setting has no effect.
    """
    why_not = {"source": _of_source, "target": _of_target, "transfer": _of_transfer}
    for keys, value in cell.settings.items():
        others = {key: of for key, of in cell.settings.items() if (key in cell.of_row) != (keys in cell.of_row)}
        reasons: list[tuple[Keys, str]] = []
        for words in paths_of(keys, shown):
            found = [
                (path, reason)
                for path in answers({".".join(words): value}, shown)
                if not (path == ("source", "method") and untrained)
                and (reason := why_not[path[0]](experiment, path))
                and not _answered(path, others, experiment)
            ]
            if not found:
                break
            reasons += found
        else:
            path, reason = reasons[0]
            raise StudyError(f"{shown}: `{spelled(path)}`: no job of this cell does what it asks for: {reason}")


def _answered(path: Keys, others: Settings, experiment: Experiment) -> bool:
    """Whether the other side, a row or a column, says by name why there is no source, or no training."""
    said = {other[:2] if other[0] == "source" else other[:1] for other in answers(others, "")}
    untrained = experiment.source.epochs == 0 and bool({("source", "method"), ("source", "epochs")} & said)
    no_source = not experiment.transfer.needs_source and ("transfer",) in said
    if path[0] == "source" or path == ("target", "at"):
        return no_source or untrained
    return path[0] == "target" and not experiment.transfer.trains and ("transfer",) in said


def _of_source(experiment: Experiment, path: Keys) -> str:
    """Why a setting of the source has no effect; empty where it has one."""
    source, target = experiment.source, experiment.target
    key = path[1] if len(path) > 1 else ""
    if target.protocol.measures == "network" and not experiment.transfer.needs_source:
        if key == "encoder" and target.network.with_encoder(source.encoder) is not target.network:
            return ""
        return (
            f"transfer `{experiment.transfer.name}` reads no source. Leave it out, or set `transfer.method` to another"
        )
    if source.epochs > 0 or (key != "method" and getattr(determining(source), key) == getattr(source, key)):
        return ""
    if source.weights is not None:
        return "the encoder is that of a file (`source.weights`). Leave it out, or choose another `source.method`"
    return "the encoder is untrained (`source.epochs` is 0). Leave it out, or set `source.epochs`"


def _of_transfer(experiment: Experiment, path: Keys) -> str:
    if experiment.target.protocol.measures == "network" or isinstance(experiment.transfer, NoTransferOptions):
        return ""
    return _encoder_alone(experiment)


def _of_target(experiment: Experiment, path: Keys) -> str:
    target, transfer = experiment.target, experiment.transfer
    key = path[1] if len(path) > 1 else ""
    if key in ("dataset", "protocol", "metric", "labels"):
        return ""
    if key in ("layer", "pool_px"):
        return "" if key in type(target.protocol).model_fields else _reads_no_layer(target.protocol.name, key)
    if key == "at":
        return _of_moment(experiment)
    if target.protocol.measures != "network":
        if key == "label_fraction":
            protocol = target.protocol
            learns = protocol.reads_labels and (protocol.stage, protocol.measures) == (EvaluateTarget.stage, "encoder")
            return "" if learns else f"protocol `{target.protocol.name}` reads no labels. Leave it out"
        return _encoder_alone(experiment)
    builds = transfer.network_of(target.network, experiment.source.encoder) is None
    how: dict[str, Callable[[], str]] = {
        "network": lambda: "builds the network from the source encoder" if builds else "",
        "budget": lambda: "has a first stage of its own" if transfer.two_stage else "",
        "first_stage_epochs": lambda: "has no first stage" if _without_first_stage(experiment) else "",
    }
    if key in ("budget", "first_stage_epochs") and target.network.one_stage:
        does = f"a network that {DOES[target.network.answers]}, such as `{target.network.name}`"
        return f"{does}, learns in one stage. Leave it out"
    why = "trains nothing" if key != "network" and not transfer.trains else how.get(key, str)()
    return f"transfer `{transfer.name}` {why}. Leave it out, or set `transfer.method` to another" if why else ""


def _reads_no_layer(protocol: str, key: str) -> str:
    others = registry.choices("protocol", lambda options: key in options.model_fields)
    return (
        f"protocol `{protocol}` reads no layer that can be chosen. Leave it out, or set `target.protocol` to {others}"
    )


def _of_moment(experiment: Experiment) -> str:
    """Why it makes no difference when the source's encoder is read."""
    source, target, transfer = experiment.source, experiment.target, experiment.transfer
    of_network = target.protocol.measures == "network"
    if of_network and not transfer.needs_source:
        return f"transfer `{transfer.name}` reads no source. Leave it out, or set `transfer.method` to another"
    if source.epochs == 0:
        return "the source's encoder is not trained, and so has no snapshots. Leave it out"
    if of_network and target.at == ALL:
        return f"transfer `{transfer.name}` reads one encoder. Name an epoch, or leave it out for the last"
    return ""


def _without_first_stage(experiment: Experiment) -> bool:
    """Whether a method with one stage is not given the epochs of two either."""
    return not experiment.transfer.two_stage and experiment.target.budget != "total"


def _encoder_alone(experiment: Experiment) -> str:
    protocol = experiment.target.protocol
    what = "the source encoder itself" if protocol.measures == "encoder" else "the source itself"
    return (
        f"protocol `{protocol.name}` measures {what}, and trains no target network. Leave it out, or set "
        f"`target.protocol` to {' or '.join(f'`{other}`' for other in _of_networks())}"
    )


def _of_networks() -> Iterator[str]:
    for name, part in registry.parts("protocol").items():
        if getattr(part.options, "measures", "") == "network":
            yield name
