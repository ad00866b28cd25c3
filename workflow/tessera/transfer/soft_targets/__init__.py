"""Soft targets: the student imitates a distribution; each page but `method` is one place where it may come from."""
