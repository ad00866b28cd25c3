"""The commands of `python -m tessera`: a module each, with `HELP`, `add_options` and `run`. None imports torch."""
