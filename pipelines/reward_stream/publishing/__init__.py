"""From shard reports to published snapshots and checkpoints."""
