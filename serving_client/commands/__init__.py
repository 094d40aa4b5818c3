"""The commands of `serving-client`, one module each. `add_to` declares the options, and `run` returns the exit code."""
