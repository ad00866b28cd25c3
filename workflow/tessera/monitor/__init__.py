"""What runs, what will run, and how long it takes: read from files alone, whoever wrote them. Never imports torch."""
