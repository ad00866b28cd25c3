"""Clustering and retrieval in an encoder's feature space."""
