"""No transfer: the baseline that every method is compared with."""

from tessera.transfer.method import TransferMethod


class NoTransfer(TransferMethod):
    """Target only: cross-entropy with the labels, `CE(y, q)`."""
