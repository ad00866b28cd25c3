import pytest
from pydantic import TypeAdapter, ValidationError

from tessera import registry
from tessera.models.encoders.options import ResNet26Options, VGG16Options
from tessera.models.networks.options import DetectorOptions, NetworkOptions, NetworkPart, SSD300Options


def test_every_network_says_what_it_predicts_and_what_trains_it() -> None:
    answers = {}
    for name, part in registry.parts("network").items():
        assert issubclass(part.options, NetworkOptions)
        assert (part.options.answers == "boxes") == issubclass(part.options, DetectorOptions)
        assert part.options.trainer.count(":") == 1
        answers[name] = part.options.answers
    assert answers == {"reduced_alexnet": "class", "classifier": "class", "ssd300": "boxes"}


@pytest.mark.parametrize(
    "encoder", ["vgg16", {"name": "vgg16"}, VGG16Options(), {"name": "vgg16", "width": "full", "batch_norm": False}]
)
def test_an_encoder_is_a_part_of_its_own(encoder: object) -> None:
    options = TypeAdapter[registry.Options](NetworkPart).validate_python({"name": "ssd300", "encoder": encoder})
    assert isinstance(options, SSD300Options)
    assert options.encoder == VGG16Options()


def test_what_is_written_of_an_encoder_is_read_again() -> None:
    options = SSD300Options(encoder=ResNet26Options(), image_size=64)
    assert options.model_dump(mode="json")["encoder"] == {"name": "resnet26"}
    assert SSD300Options.model_validate_json(options.model_dump_json()) == options
    wide = SSD300Options(encoder=VGG16Options(width="half"))
    assert SSD300Options.model_validate(wide.model_dump()) == wide


def test_without_an_encoder_it_is_none() -> None:
    assert SSD300Options().encoder is None
    assert SSD300Options().model_dump()["encoder"] is None


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("vgg17", r"Unknown encoder 'vgg17'. Did you mean 'vgg16'"),
        ({"name": "vgg16", "widht": "half"}, "widht"),
        (3, "should name one encoder of: alexnet"),
    ],
)
def test_a_mistyped_encoder_is_told(encoder: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SSD300Options.model_validate({"encoder": encoder})


def test_the_schema_refers_to_the_family() -> None:
    field = SSD300Options.model_json_schema()["properties"]["encoder"]
    assert field["anyOf"] == [{"x-part-of": "encoder"}, {"type": "null"}]
