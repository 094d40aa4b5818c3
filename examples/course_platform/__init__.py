"""A made-up course platform: its generator, and the demo that recommends its courses."""
