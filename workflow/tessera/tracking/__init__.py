"""Run tracking: a view of the artifacts, never a condition of a run."""
