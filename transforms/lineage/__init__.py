"""Show which data, runs and models a result came from: the command `recbeam lineage`."""
