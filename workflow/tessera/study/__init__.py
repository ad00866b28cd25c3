"""The study language: from YAML to a plan of jobs. Never imports torch."""
