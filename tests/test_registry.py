"""Fields that came later: they change no key while they have their default, and are settings like any other."""

from typing import Annotated, Any

import pytest
from pydantic import Field, SerializeAsAny, TypeAdapter

from tessera.explain.facts import changes, flat
from tessera.jobs import key_of
from tessera.models.encoders.options import EncoderPart
from tessera.parts import models_in, parts_of
from tessera.registry import FAMILIES, LATE, Checked, Options, parts
from tessera.transfer.options.base import TransferPart


class Before(Options):
    """A part as it was."""

    name: str = "toy"
    size: int = 1


class After(Before):
    """The same, with fields that came later."""

    inputs: Annotated[str, LATE] = Field("own", description="Late.")
    shape: Annotated[tuple[int, ...], LATE] = Field(default_factory=tuple, description="Late, from a factory.")
    inner: Annotated[Before, LATE] = Field(Before(), description="Late, a model.")


class Heir(After):
    """A subclass adds nothing, and inherits what is late."""


class Holder(Checked):
    """Parts within a part."""

    part: SerializeAsAny[Options]
    parts: tuple[SerializeAsAny[Options], ...] = ()


def _key(options: Checked) -> str:
    return key_of("pretrain_source", 1, 0, options.model_dump(mode="json"), {}, "auto")


@pytest.mark.parametrize("model", [After, Heir])
@pytest.mark.parametrize("given", [{}, {"inputs": "own"}, {"shape": []}, {"inner": {"name": "toy"}}])
def test_a_late_field_with_its_default_changes_no_key(model: type[Options], given: dict[str, Any]) -> None:
    options = model.model_validate({"name": "toy", **given})
    assert _key(options) == _key(Before())
    assert _key(Holder(part=options, parts=(options,))) == _key(Holder(part=Before(), parts=(Before(),)))
    assert options.model_dump_json() == Before().model_dump_json()


@pytest.mark.parametrize("changed", [{"inputs": "shared"}, {"shape": (1, 2)}, {"inner": Before(size=2)}])
def test_another_value_is_dumped_and_read_again(changed: dict[str, Any]) -> None:
    options = Heir(**changed)
    assert set(options.model_dump()) == {"name", "size", *changed}
    assert _key(options) != _key(Before())
    assert Heir.model_validate(options.model_dump(mode="json")) == options
    assert Holder(part=options).model_dump()["part"] == options.model_dump()
    assert Heir.model_validate(Before().model_dump()) == Heir()


def test_a_late_field_is_told_as_any_other() -> None:
    old, new = (flat(options.model_dump(mode="json"), "part") for options in (Before(), After(inputs="shared")))
    assert [(change.key, change.new) for change in changes(old, new)] == [("part.inputs", "shared")]
    schema = After.model_json_schema()["properties"]["inputs"]
    assert (schema["default"], schema["description"]) == ("own", "Late.")


@pytest.mark.parametrize("family", FAMILIES)
def test_late_fields_of_every_part_have_a_default_as_their_values_are(family: str) -> None:
    for name, part in parts(family).items():
        for key, field in part.options.model_fields.items():
            if LATE in field.metadata:
                assert not field.is_required(), f"{name}.{key}"
                default = field.get_default(call_default_factory=True)
                assert TypeAdapter(field.rebuild_annotation()).validate_python(default) == default, f"{name}.{key}"


class Inner(Checked):
    """Parts alone, in a list, and beside None."""

    encoder: EncoderPart
    other: EncoderPart | None = None
    of: tuple[TransferPart, ...] = ()
    maybe: list[TransferPart] | None = None
    plain: int | None = None


def test_parts_are_found_by_their_annotations() -> None:
    assert parts_of(Inner) == {
        ("encoder",): "encoder", ("other",): "encoder", ("of", "*"): "transfer", ("maybe", "*"): "transfer",
    }  # fmt: skip
    options = Inner.model_validate({"encoder": "vgg16", "of": ["none", {"method": "fsp"}]})
    places = [place for place, _ in models_in(options)]
    assert places == [(), ("encoder",), ("of", 0), ("of", 1)]
