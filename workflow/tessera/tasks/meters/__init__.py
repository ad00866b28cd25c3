"""Meters: what a task's predictions are worth, over all images at once."""
