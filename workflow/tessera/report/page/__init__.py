"""The pages of a study and of all studies, HTML from `templates/`."""
