"""Where decisions and rewards come from."""
