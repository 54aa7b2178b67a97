"""Training of the organisms and computing of their truth: `make organisms`."""
