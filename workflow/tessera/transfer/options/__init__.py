"""What can be set of the way knowledge reaches the target network. Torch-free."""

from tessera.transfer.options.base import TransferOptions

__all__ = ["TransferOptions"]  # what the options of a method of one's own extend
