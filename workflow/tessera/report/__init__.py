"""Tables of a study. Never imports torch."""
