"""Several checkpoints of one task as one grader: the mean of their calibrated probabilities, and their disagreement."""
