"""What can be set of each task; a page is named as those of the classes it belongs to. Torch-free."""

from tessera.tasks.options.base import TaskOptions

__all__ = ["TaskOptions"]  # what the options of a task of one's own extend
