"""The variational autoencoders: what they compute, their losses and their random numbers."""
