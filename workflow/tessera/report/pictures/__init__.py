"""The pictures of a study; `album` names all that are drawn."""
