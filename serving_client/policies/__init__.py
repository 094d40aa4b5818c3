"""Policies: from the statistics of a bandit's arms to the probability of each arm.

`statistics.py` reads the statistics from a snapshot. Each kind of policy is one module, which `weights.py` finds.
`probabilities.py` adds what a bandit requires around a policy: eligible arms, floor and caps.
"""
