"""Generate the log of a fictional course platform, and run a demo that recommends its courses."""
