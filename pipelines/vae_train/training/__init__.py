"""Train a model on examples: order of users, steps, validation and checkpoints."""
