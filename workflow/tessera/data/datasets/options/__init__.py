"""What can be set of each dataset; a page is named as those of the classes it belongs to. Torch-free."""

from tessera.data.datasets.options.base import DatasetOptions

__all__ = ["DatasetOptions"]  # what the options of a dataset of one's own extend
