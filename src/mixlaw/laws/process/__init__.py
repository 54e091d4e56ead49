"""The arithmetic of Gaussian processes."""
