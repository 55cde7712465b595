"""Samples, batches, augmentation and order."""
