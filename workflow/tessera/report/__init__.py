"""Results of a study, from what its artifacts say: `tables`, `words`, `pictures`, and the `page`. No torch here."""
