"""What the benchmarks of vae_train compare it with, and how they measure."""
