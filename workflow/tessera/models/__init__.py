"""Encoders, heads and target networks."""
