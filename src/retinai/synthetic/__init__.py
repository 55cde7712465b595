"""Synthetic cohorts: drawn photographs, graded by their lesions, in the folder trees of the owners."""
