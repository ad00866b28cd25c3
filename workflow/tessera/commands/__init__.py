"""The commands of `tessera`: a module each, with `HELP`, `add_options` and `run`. None imports torch."""
