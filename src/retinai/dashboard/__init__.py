"""One page about many runs, and the same panels for Weights & Biases."""
