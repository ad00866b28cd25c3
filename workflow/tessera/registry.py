"""Finds parts by name: each family writes its parts out in one table, and this page reads those tables.

A family is a package whose `__init__` holds `PARTS`, a table from name to `Part`, and `BASE`, the options model that
those of its parts extend. These pages and the options they name never import torch, so that a plan is quick; the class
itself is imported when it is used.
"""

import difflib
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from tessera.errors import StudyError, brief

_LONGEST = 100  # letters of a word for which a near one is looked for

FAMILIES = {
    "dataset": "tessera.data.datasets",
    "encoder": "tessera.models.encoders",
    "network": "tessera.models.networks",
    "task": "tessera.tasks",
    "sharing": "tessera.multitask.sharing",
    "schedule": "tessera.multitask.schedule",
    "balancing": "tessera.multitask.balancing",
    "regularizer": "tessera.multitask.regularizers",
    "fusion": "tessera.multitask.fusion",
    "transfer": "tessera.transfer",
    "protocol": "tessera.protocols",
}


LARGEST_WHOLE, LARGEST_SEED, LARGEST_REAL = 10**9, 2**63 - 1, 1e30


@dataclass(frozen=True)
class Late:
    """Marks a field that came after artifacts were made without it, as `Annotated[T, LATE]`.

    A job's key is a hash of its dumped settings. Left out of the dump while it has its default, such a field changes
    no key: what was computed before it stays valid, for the default is what was done then.
    """


LATE = Late()


class Checked(BaseModel):
    """Refuses unknown keys, infinities, numbers that no training can compute with, and changes after the fact."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    _late: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._late = tuple(name for name, field in cls.model_fields.items() if LATE in field.metadata)

    def clashes(self, whole: Any) -> Iterator[str]:
        """What this does not go with, one line each: what was found, and the key to change.

        Asked of each model and each part of a cell when all of them are known, before any job starts; all that is found
        is told at once. Who extends a model yields its lines too: `yield from super().clashes(whole)`.

        Args:
            whole: Of the source and its parts the `Source`; of transfer, target and their parts the `Experiment`.
        """
        yield from ()

    @model_serializer(mode="wrap")
    def _without_late_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = dump(self)
        for name in self._late:
            default = type(self).model_fields[name].get_default(call_default_factory=True, validated_data=self.__dict__)
            if getattr(self, name) == default:
                dumped.pop(name, None)
        return dumped

    @field_validator("*")
    @classmethod
    def _no_absurd_number(cls, value: Any, info: ValidationInfo) -> Any:
        seed = (info.field_name or "").endswith("seed")
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            largest = LARGEST_REAL if isinstance(number, float) else LARGEST_SEED if seed else LARGEST_WHOLE
            if abs(number) > largest:
                raise ValueError(f"should be at most {largest:g}")
        return value


class Options(Checked):
    """What a user can set of a part, in YAML and in Python alike.

    Attributes:
        carried: Settings that hold for a part that stands in for this one at a scale, too.
    """

    carried: ClassVar[tuple[str, ...]] = ()

    name: str


@dataclass(frozen=True)
class Part:
    """One line of a family's table.

    Args:
        target: Where the class is, as `module:Class`.
        options: The model of what can be set.
        title: What it does, in a few words.
        paper: Where it comes from.
    """

    target: str
    options: type[Options]
    title: str
    paper: str = ""


def parts(family: str) -> dict[str, Part]:
    """The written-out table of a family."""
    table: dict[str, Part] = importlib.import_module(FAMILIES[family]).PARTS
    return table


def several(family: str) -> str | None:
    """The part of a family that a list of its parts stands for; None where a list means nothing."""
    name: str | None = getattr(importlib.import_module(FAMILIES[family]), "SEVERAL", None)
    return name


def base(family: str) -> type[Options]:
    """What the plan asks of every part of a family: the model that the options of its parts extend."""
    model: type[Options] = importlib.import_module(FAMILIES[family]).BASE
    return model


def find(family: str, name: str) -> Part:
    """Looks a part up by its name in the table, or a user's own part by `package.module:Class`.

    A user's class carries its options model as the attribute `Options`.

    Raises:
        StudyError: If there is no such part; the message names the nearest one.
    """
    if ":" in name:
        cls = import_target(name)
        options = getattr(cls, "Options", None)
        if not (isinstance(options, type) and issubclass(options, Options)):
            raise StudyError(f"`{name}` needs a class attribute `Options`, a subclass of tessera.registry.Options.")
        title, *_ = [*str(cls.__doc__ or "").strip().splitlines(), name]
        return Part(name, options, title)
    table = parts(family)
    if name not in table:
        raise StudyError(f"Unknown {family} '{brief(name)}'. {suggest(name, table)}")
    return table[name]


def choices(family: str, fits: Callable[[Any], bool]) -> str:
    """The parts of a family whose options model fits, in words: "`fine_tune` or `none`"."""
    names = sorted(f"`{name}`" for name, part in parts(family).items() if fits(part.options))
    *most, last = names or ["a part of your own"]
    return f"{', '.join(most)} or {last}" if most else last


def label(name: str) -> str:
    """What tables, curves and folders call a part: its name, and of a user's own the class's name in snake case.

    Where a part of Tessera is called so, the module's name stands before it.

    >>> label("jigsaw"), label("my_package.my_module:QuarterTurn"), label("my_package.my_module:Jigsaw")
    ('jigsaw', 'quarter_turn', 'my_module_jigsaw')
    """
    if ":" not in name:
        return name
    module, _, cls = name.partition(":")
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls).lower()
    taken = any(word in parts(family) for family in FAMILIES)
    return f"{module.rpartition('.')[2]}_{word}" if taken else word


def load(family: str, name: str) -> Any:
    """Imports the class of a part."""
    return import_target(find(family, name).target)


def suggest(word: str, known: Iterable[str]) -> str:
    """The sentence that helps after a mistyped word.

    >>> suggest("jigsw", ["jigsaw", "colorization"])
    "Did you mean 'jigsaw'? Known: colorization, jigsaw."
    """
    names = sorted(str(name) for name in known)
    near = difflib.get_close_matches(word[:_LONGEST], names, n=1)
    return (f"Did you mean '{brief(near[0])}'? " if near else "") + f"Known: {brief(', '.join(names), 400)}."


def import_target(target: str) -> Any:
    """What `module:name` names.

    Raises:
        StudyError: If there is no such module, or nothing of that name in it.
    """
    module, _, attribute = target.partition(":")
    shown = f"Cannot import `{brief(target)}`"
    if not all(word.isidentifier() for word in (*module.split("."), attribute)):
        raise StudyError(f"{shown}: a part of your own is named as `my_package.my_module:MyClass`")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise StudyError(f"{shown}: {brief(str(error), 200)}. Is the package installed or on PYTHONPATH?") from error
    except SyntaxError as error:
        where = f" ({error.filename}, line {error.lineno})" if error.filename else ""
        raise StudyError(f"{shown}: its code is not valid Python: {error.msg}{where}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module can do anything when it is imported, and even end the process
        raise StudyError(f"{shown}: its module raises {type(error).__name__}: {brief(str(error), 200)}") from error
