"""Route requests to the arms of bandits, and write the logs of decisions and rewards.

The extra `router` installs what this package needs.
"""
