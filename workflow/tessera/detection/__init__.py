"""Detection: a network that finds objects is trained, and measured."""
