"""Show what has been published."""
