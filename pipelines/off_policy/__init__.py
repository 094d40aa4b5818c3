"""Estimate what a policy would have earned, from the decisions and rewards of another one."""
