"""Choose the similarity of a run on held-out items of a sample of users (--similarity=auto)."""
