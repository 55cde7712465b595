"""Grading by text prompts: networks of an image tower and a text tower, without any training."""
