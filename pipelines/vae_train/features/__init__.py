"""From raw ids to what the model is fed, the same in training and in serving."""
