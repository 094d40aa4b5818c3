"""Define the variational autoencoders: layers, losses and random numbers."""
