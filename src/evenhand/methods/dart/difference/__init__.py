"""Whether a model treats groups differently where it should, and alike where it should not."""
