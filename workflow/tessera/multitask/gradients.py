"""How the gradients of a step are made and put together: the only page that knows. A balancing says what they weigh."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tessera.errors import DivergedError
from tessera.multitask.balancing.base import Balancing, NoWeightError
from tessera.multitask.step import Step, TaskLoss

_NO_WEIGHT = (
    "Is there a batch without any label of this task, or a loss that is 0 or does not reach the encoder? Give it "
    "larger batches, leave the task out, or choose a balancing that needs no length of a gradient, such as `pcgrad`."
)


def leave_gradients(step: Step, balancing: Balancing, shared: Sequence[nn.Parameter]) -> None:
    """Leaves the gradient of a step in `.grad`: of the shared parameters weighed, of the tasks' own as it is.

    A balancing that compares nothing scales losses. One that compares is given the Gram matrix of the tasks' gradients,
    of the shared parameters or of the encoder's map, and weighs these. With one task there is nothing to compare.

    Args:
        shared: Parameters that the tasks share, the encoder's first, without gradients yet.

    Raises:
        DivergedError: If gradients are compared, and one is not finite or has no weight.
    """
    options = balancing.options
    if options.compares == "nothing" or len(step.tasks) == 1:
        _add_up(step, balancing)
    elif options.compares_map:
        _weigh_features(step, balancing)
    elif options.compares == "last_layer" and step.one_graph:
        _weigh_by_last_layer(step, balancing, shared)
    else:
        _weigh_parameters(step, balancing, shared)


class TaskGradients(NamedTuple):
    """Gradients of a step, task by task, one of each of some parameters; None where a loss does not reach it.

    Attributes:
        tasks: Of each task's loss.
        outside: Of what is added after weighing, of all tasks together.
    """

    tasks: dict[str, list[Tensor | None]]
    outside: list[Tensor | None]


def task_gradients(step: Step, parameters: Sequence[Tensor]) -> TaskGradients:
    """The gradients of a step's losses as they are, unweighed; `.grad` is left alone."""
    found = dict[str, list[Tensor | None]]()
    outside = list[Tensor | None]([None] * len(parameters))
    for index, each in enumerate(step.losses()):
        kept = step.one_graph and index + 1 < len(step.tasks)
        found[each.task] = _differentiate(each.loss, parameters, kept or each.outside is not None)
        if each.outside is not None:
            outside = add(outside, _differentiate(each.outside, parameters, kept))
    return TaskGradients(found, outside)


def total_gradient(step: Step, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient of the sum of a step's losses, unweighed, without what is outside; `.grad` is left alone."""
    losses = (each.loss for each in step.losses())
    if step.one_graph:
        first, *others = losses
        return _differentiate(sum(others, first), parameters)
    total = list[Tensor | None]([None] * len(parameters))
    for loss in losses:
        total = add(total, _differentiate(loss, parameters))
    return total


def add(
    total: Sequence[Tensor | None], more: Sequence[Tensor | None], factor: float | Tensor = 1.0
) -> list[Tensor | None]:
    """One gradient a parameter, the second ones times a factor; None is zero."""
    pairs = zip(total, (None if other is None else other * factor for other in more), strict=True)
    return [other if one is None else one if other is None else one + other for one, other in pairs]


def _differentiate(loss: Tensor, parameters: Sequence[Tensor], kept: bool = False) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, parameters, retain_graph=kept, allow_unused=True))


def looks_of(
    step: Step, balancing: Balancing, shared: Sequence[nn.Parameter], *, again: bool, made: bool = False
) -> Callable[[], None]:
    """`leave_gradients`, as often as one likes where one may look `again`, though the balancing counts one step.

    Each look finds the balancing as the first one found it, so that the same objective is differentiated, and what the
    first one left it to remember stays.

    Args:
        again: Whether there is to be a second look: only then is what the balancing remembers copied, at each step.
        made: The first look's gradients are there already.
    """
    before = balancing.memory() if again else None
    looked = False

    def look() -> None:
        nonlocal looked
        if not looked:
            looked = True
            if not made:
                leave_gradients(step, balancing, shared)
            return
        assert before is not None, "a second look that the regularizer's options do not announce: `looks_twice`"
        after = balancing.memory()
        balancing.recall(before)
        leave_gradients(step, balancing, shared)
        balancing.recall(after)

    return look


def _add_up(step: Step, balancing: Balancing) -> None:
    number = len(step.tasks)
    objectives = (_with_outside(balancing.scale(each.task, each.loss, number), each) for each in step.losses())
    if step.one_graph:
        first, *others = objectives
        sum(others, first).backward()  # type: ignore[no-untyped-call]
        return
    for objective in objectives:  # one graph is alive at a time
        objective.backward()  # type: ignore[no-untyped-call]


def _with_outside(loss: Tensor, each: TaskLoss) -> Tensor:
    return loss if each.outside is None else loss + each.outside


def _weigh_parameters(step: Step, balancing: Balancing, shared: Sequence[nn.Parameter]) -> None:
    rows, losses, beside, outside = list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
    for each in _backward(step.losses(), step, balancing):
        rows.append(_taken(shared))
        losses.append(each.loss.detach())
        if each.outside is not None:
            outside.append(each.outside)
            if not step.one_graph:  # else one pass back serves them all, in the end
                beside.append(_outside_gradient(outside, shared))
    if outside:
        beside.append(_outside_gradient(outside, shared))
    matrix = torch.stack(rows)
    compared = _columns(matrix, step.last_layer, shared) if balancing.options.compares == "last_layer" else matrix
    total = _weights(compared, losses, step, balancing) @ matrix
    _put(sum(beside, total), shared)


def _outside_gradient(outside: list[Tensor], shared: Sequence[nn.Parameter]) -> Tensor:
    """Of what is added after weighing, which is then no longer listed."""
    torch.stack(outside).sum().backward()  # type: ignore[no-untyped-call]
    outside.clear()
    return _taken(shared)


def _weigh_by_last_layer(step: Step, balancing: Balancing, shared: Sequence[nn.Parameter]) -> None:
    """Of one graph, where a task's pass back may end at the last layer: the encoder's is one for all tasks."""
    last, encoder, number = step.last_layer, set(map(id, shared)), len(step.tasks)
    beside = [parameter for parameter in step.parameters if id(parameter) not in encoder]
    rows, losses, scaled, outside = [], [], [], []
    for each in step.losses():
        scaled.append(balancing.scale(each.task, each.loss, number))
        scaled[-1].backward(retain_graph=True, inputs=[*last, *beside])  # type: ignore[no-untyped-call]
        rows.append(_taken(last))
        losses.append(each.loss.detach())
        if each.outside is not None:
            outside.append(each.outside)
            each.outside.backward(retain_graph=True, inputs=beside)  # type: ignore[no-untyped-call]
    weights = _weights(torch.stack(rows), losses, step, balancing)
    weighed = [weight * loss for weight, loss in zip(weights, scaled, strict=True)]
    torch.stack([*weighed, *outside]).sum().backward(inputs=list(shared))  # type: ignore[no-untyped-call]


def _weigh_features(step: Step, balancing: Balancing) -> None:
    z, leaf, task_losses = step.cut()
    rows, losses, beside = [], [], torch.zeros_like(leaf)
    for each in _backward(task_losses, step, balancing):
        rows.append(_gradient_of(leaf).flatten().float())
        losses.append(each.loss.detach())
        if each.outside is not None:
            each.outside.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            beside += _gradient_of(leaf)
    matrix = torch.stack(rows)
    total = (_weights(matrix, losses, step, balancing) @ matrix).view_as(leaf)
    z.backward(total.to(z.dtype) + beside)  # type: ignore[no-untyped-call]


def _backward(task_losses: Iterator[TaskLoss], step: Step, balancing: Balancing) -> Iterator[TaskLoss]:
    """Each loss in turn, its gradient taken; a graph that others need is kept until the last of them."""
    number = len(step.tasks)
    for index, each in enumerate(task_losses):
        kept = each.outside is not None or (step.one_graph and index + 1 < number)
        balancing.scale(each.task, each.loss, number).backward(retain_graph=kept)  # type: ignore[no-untyped-call]
        yield each


def _weights(compared: Tensor, losses: Sequence[Tensor], step: Step, balancing: Balancing) -> Tensor:
    """What the balancing makes of Gram matrix and losses, the only wait for the device in a step that compares."""
    number = len(losses)
    read = torch.cat([(compared @ compared.T).flatten().double(), torch.stack(list(losses)).double()]).cpu()
    gramian = read[:-number].view(number, number)
    for task, square in zip(step.tasks, gramian.diagonal().isfinite().tolist(), strict=True):
        if not square:
            raise DivergedError(f"the gradient of task `{task}` is not finite, so it cannot be weighed.")
    try:
        weights = balancing.weights(gramian, read[-number:])
    except NoWeightError as error:
        raise DivergedError(f"the gradient of task `{step.tasks[error.place]}` {error.why}", _NO_WEIGHT) from error
    for task, weight in zip(step.tasks, weights.isfinite().tolist(), strict=True):
        if not weight:
            raise DivergedError(f"the gradient of task `{task}` has no finite weight.", _NO_WEIGHT)
    balancing.note(dict(zip(step.tasks, weights, strict=True)))
    return weights.to(compared)


def _taken(shared: Sequence[nn.Parameter]) -> Tensor:
    """The gradients as one vector, which are then no longer there."""
    parts = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in shared]
    for parameter in shared:
        parameter.grad = None
    return torch.cat(parts)


def _gradient_of(leaf: Tensor) -> Tensor:
    gradient, leaf.grad = leaf.grad, None
    return torch.zeros_like(leaf) if gradient is None else gradient


def _put(total: Tensor, shared: Sequence[nn.Parameter]) -> None:
    sizes = [parameter.numel() for parameter in shared]
    for parameter, part in zip(shared, torch.split(total, sizes), strict=True):
        # As the parameter lies in memory, which the optimiser's loops want.
        parameter.grad = torch.empty_like(parameter).copy_(part.view(parameter.shape))


def _columns(matrix: Tensor, of: Sequence[nn.Parameter], shared: Sequence[nn.Parameter]) -> Tensor:
    """The columns of these parameters alone."""
    wanted = set(map(id, of))
    parts = torch.split(matrix, [parameter.numel() for parameter in shared], dim=1)
    return torch.cat([part for part, each in zip(parts, shared, strict=True) if id(each) in wanted], dim=1)
