"""The table of a study, and its files: Markdown, LaTeX, CSV, JSON, and the curves of its trainings."""
