"""Pre-training on photographs without labels: Token Reconstruction."""
