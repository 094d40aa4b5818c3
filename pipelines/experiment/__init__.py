"""Compare the arms of a bandit on live users: which arm is better, how sure that is, and how long it takes."""
