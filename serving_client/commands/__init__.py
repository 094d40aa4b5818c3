"""The commands of `serving-client`, a module each: `add_to` declares the options, `run` gives the exit code."""
