"""Tessera: from a YAML study to a paper's tables."""

__version__ = "0.1.0"
