"""Turn decisions and rewards into arm statistics."""
