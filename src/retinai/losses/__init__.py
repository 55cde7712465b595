"""Losses: what is minimised, and how logits become class probabilities."""
