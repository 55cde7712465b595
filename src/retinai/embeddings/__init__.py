"""Embeddings: features of frozen encoders in a file, and the probes that are fitted on them."""
