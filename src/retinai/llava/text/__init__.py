"""Questions, answers, and what a text says."""
