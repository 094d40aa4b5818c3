"""From examples to trained weights: order of users, steps, validation, checkpoints."""
