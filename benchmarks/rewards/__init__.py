"""Parts of the reward_stream benchmarks: published data and numbers, and how they are reproduced."""
