"""Decisions and rewards with known truth: a generator, and the slow plain statistics that reward_stream must equal.

Nothing here imports the pipeline or what it is made of; the rules are read from the specification a second time.
"""
