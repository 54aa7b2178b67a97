"""The correction over alphas, checkpoints and peers: safety against helpfulness."""
