"""The encoders that a test builds from their names alone: `timm` is none, since it is any network of a package."""

from tessera import registry

BY_NAME = sorted(
    name
    for name, part in registry.parts("encoder").items()
    if not any(field.is_required() for field in part.options.model_fields.values())
)
