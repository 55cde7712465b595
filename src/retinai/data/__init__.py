"""Data sets of retinal photographs: labels, splits, pixels, batches."""
