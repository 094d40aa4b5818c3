"""Convert raw ids to the input of the model, in the same way for training and serving."""
